//! What the engine does for the interfaces that reach beyond the target's files: on a machine that only records, and what nobody gets to see.

#[path = "../host/support/mod.rs"]
mod guests;
#[path = "../support/planning.rs"]
#[allow(dead_code, reason = "only the request is used here")]
mod planning;
mod support;

use std::net::IpAddr;

use dibw_engine::Event;
use dibw_engine::offers::{Repository, Secret};
use dibw_policy::{Grant, Need};
use support::{Built, Double, Fixture};

const SECRET: &str = "correct horse battery staple";

/// An argument of a host function, as the contract's functions take them flat.
#[derive(Clone, Copy)]
enum Arg {
    Text(&'static str),
    Number(u32),
    Long(u64),
    /// So many zeros: an option that is none.
    Nothing(u32),
}

use Arg::{Long, Nothing, Number, Text};

/// A guest whose `install` makes the calls one after the other, and gives up at the first error.
fn guest(calls: &[(&str, &[Arg])], needs: &[&str], phase: &str) -> Vec<u8> {
    let manifest = guests::manifest(needs).replace("\"install\"", &format!("\"{phase}\""));
    guests::component(&guest_text(calls, "", ""), Some(&manifest))
}

/// The module of such a guest, with more of it and with what it does after the calls.
fn guest_text(calls: &[(&str, &[Arg])], more: &str, after: &str) -> String {
    let (mut imports, mut body, mut data) = (String::new(), String::new(), String::new());
    for (number, (function, arguments)) in calls.iter().enumerate() {
        let (interface, name) = function.split_once('.').unwrap_or_default();
        let (mut pushed, mut types) = (String::new(), String::new());
        let mut push = |kind: &str, value: u64| {
            pushed.push_str(&format!(" ({kind}.const {value})"));
            types.push_str(&format!("{kind} "));
        };
        for argument in *arguments {
            match argument {
                Text(text) => {
                    push("i32", 4096 + data.len() as u64);
                    push("i32", text.len() as u64);
                    data.push_str(text);
                }
                Number(value) => push("i32", u64::from(*value)),
                Long(value) => push("i64", *value),
                Nothing(flat) => (0..*flat).for_each(|_| push("i32", 0)),
            }
        }
        imports.push_str(&format!(
            r#"(import "dibw:element/{interface}@0.1.0" "{name}" (func $call{number} (param {types}i32)))"#
        ));
        body.push_str(&format!(
            "(call $call{number}{pushed} (i32.const 1024)) (if (i32.load8_u (i32.const 1024)) (then (return (i32.const 1024))))"
        ));
    }
    format!(
        r#"(module {imports}
            (memory (export "memory") 64)
            (data (i32.const 4096) "{data}") {more}
            (global $free (mut i32) (i32.const 65536))
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
                (local.set $at (i32.and (i32.add (global.get $free) (i32.const 15)) (i32.const -16)))
                (global.set $free (i32.add (local.get $at) (local.get 3)))
                (local.get $at))
            (func $author (export "dibw:element/lifecycle@0.1.0#run") (param i32 i32) (result i32) {body} {after} (i32.const 0)))"#
    )
}

fn grants(needs: &[&str]) -> Vec<Grant> {
    let needs = needs.iter().filter_map(|need| need.split_once(' '));
    let needs = needs.filter_map(|(capability, value)| Need::new(capability.parse().ok()?, value).ok());
    needs.map(|need| Grant { element: "guest".to_owned(), need }).collect()
}

fn fixture(calls: &[(&str, &[Arg])], needs: &[&str], phase: &str) -> Fixture {
    let mut fixture = Fixture::granting(&guest(calls, needs, phase), support::PARTITIONS, &grants(needs));
    fixture.offers.secrets.insert("token".to_owned(), Secret::new(format!("{SECRET}\n").into_bytes()));
    fixture.offers.inputs.insert("site-ca".to_owned(), b"the certificate".to_vec());
    fixture
}

fn well(built: &Built) {
    if let Err(failure) = &built.outcome {
        panic!("{failure}");
    }
}

/// A file of the target when the guest's hook has run; the target of a double is gone with its build, so a shell hook's call tells of it.
fn contents(built: &Built, path: &str) -> Option<String> {
    built.target.get(path).cloned()
}

fn texts(events: &[Event]) -> String {
    events.iter().map(|event| format!("{event:?}\n")).collect()
}

#[test]
fn a_secret_gets_where_it_is_sent_and_nowhere_else() {
    let calls: [(&str, &[Arg]); 2] = [
        ("secrets.write-file", &[Text("token"), Text("/etc/token"), Number(0o640)]),
        (
            "net.fetch",
            &[Text("https://a.example/x"), Text("none"), Number(1), Text("Authorization"), Text("token")],
        ),
    ];
    let needs = [
        "secret.use token file /etc/token",
        "target.write /etc/token",
        "secret.use token header https://a.example",
        "net.fetch https://a.example/ none",
    ];
    let built = fixture(&calls, &needs, "install").build(|machine| {
        machine.hops = vec![("https://a.example/x", vec![IpAddr::from([93, 184, 216, 34])])];
    });
    well(&built);
    assert_eq!(contents(&built, "/etc/token").as_deref(), Some("correct horse battery staple\n"));
    let machine = built.machine.borrow();
    assert_eq!(machine.sent, [format!("Authorization: {SECRET}")]);
    assert!(!machine.calls.iter().any(|call| call.contains(SECRET)), "{:?}", machine.calls);
    assert!(!texts(&built.events).contains(SECRET));
    assert!(!built.records.contains(SECRET), "plan and audit log");
    assert!(built.records.contains("secret.use"), "the audit log tells of it: {}", built.records);
}

#[test]
fn a_file_with_a_secret_is_not_shown_to_elements() {
    // One byte of it is as little to be had as the whole.
    let calls: [(&str, &[Arg]); 2] = [
        ("secrets.write-file", &[Text("token"), Text("/etc/token"), Number(0o640)]),
        ("target-fs.read", &[Text("/etc/token"), Long(3), Long(1)]),
    ];
    let needs = ["secret.use token file /etc/token", "target.write /etc/token", "target.read /etc/*"];
    let built = fixture(&calls, &needs, "install").build(|_| {});
    let failure = match built.outcome {
        Err(failure) => failure.to_string(),
        Ok(_) => panic!("the secret was read"),
    };
    assert!(failure.contains("/etc/token holds a secret: it is not shown to elements"), "{failure}");
}

#[test]
fn what_a_program_prints_comes_without_secrets() {
    // argv is the list at 8000: one string at 4096 + 10 + 9, `/bin/show`.
    let calls: [(&str, &[Arg]); 2] = [
        ("secrets.write-file", &[Text("token"), Text("/bin/show"), Number(0o640)]),
        ("exec.run", &[Number(8000), Number(1), Nothing(2), Number(60)]),
    ];
    let needs = [
        "secret.use token file /bin/show",
        "target.write /bin/show",
        "target.write_privileged binpaths",
        "target.exec /bin/show",
    ];
    let place = 4096 + "token".len();
    let bytes = place.to_le_bytes();
    let length = "/bin/show".len();
    let list = format!("\\{:02x}\\{:02x}\\00\\00\\{length:02x}\\00\\00\\00", bytes[0], bytes[1]);
    // Traps when what the program printed does not begin with a star: the output's pointer follows the result's tag.
    let check = "(if (i32.ne (i32.load8_u (i32.load (i32.const 1028))) (i32.const 42)) (then unreachable))";
    let text = guest_text(&calls, &format!(r#"(data (i32.const 8000) "{list}")"#), check);
    let bytes = guests::component(&text, Some(&guests::manifest(&needs)));
    let mut fixture = Fixture::granting(&bytes, support::PARTITIONS, &grants(&needs));
    fixture.offers.secrets.insert("token".to_owned(), Secret::new(SECRET.as_bytes().to_vec()));
    let built = fixture.build(|machine| machine.prints = Some(("/bin/show", SECRET)));
    well(&built);
    assert!(built.machine.borrow().calls.iter().any(|call| call == "inside /bin/show"));
}

#[test]
fn output_of_programs_and_failures_are_redacted() {
    let calls: [(&str, &[Arg]); 1] =
        [("secrets.write-file", &[Text("token"), Text("/etc/token"), Number(0o640)])];
    let needs = ["secret.use token file /etc/token", "target.write /etc/token"];
    let fixture = fixture(&calls, &needs, "install");
    // A shell hook that prints the secret and fails.
    let built = fixture.build(|machine| {
        machine.breaks = Some("30-third");
        machine.last_words = Some(SECRET);
    });
    let failure = match &built.outcome {
        Err(failure) => failure.to_string() + &failure.to_json(),
        Ok(_) => panic!("it was to fail"),
    };
    assert!(failure.contains("***"), "{failure}");
    assert!(!failure.contains(SECRET), "{failure}");
    assert!(!texts(&built.events).contains(SECRET));
}

#[test]
fn what_is_not_offered_is_not_found() {
    let cases: [(&str, &[Arg], &[&str], &str); 4] = [
        (
            "inputs.read",
            &[Text("other")],
            &["host.input *"],
            "no input is offered as other; offer one with --input other=PATH",
        ),
        (
            "secrets.write-file",
            &[Text("other"), Text("/etc/x"), Number(0o600)],
            &["secret.use * file /etc/*", "target.write /etc/*"],
            "no secret is offered as other; offer one with --secret other=PATH",
        ),
        (
            "packages.add-repository",
            &[Text("acme")],
            &["packages.repo_add acme"],
            "no package repository of the catalogue is called acme; the site defines them under `repositories:` of its policy",
        ),
        (
            "mounts.request",
            &[Text("esp"), Text("/mnt")],
            &["mount.request esp /mnt"],
            "the disk has no EFI system partition; use block-device-efi or a layout with one",
        ),
    ];
    for (function, arguments, needs, said) in cases {
        let built = fixture(&[(function, arguments)], needs, "install").build(|_| {});
        let failure = match built.outcome {
            Err(failure) => failure.to_string(),
            Ok(_) => panic!("{function} was to fail"),
        };
        assert!(failure.contains(said), "{failure}");
    }
}

#[test]
fn a_download_lands_whole_and_every_hop_is_in_the_audit_log() {
    let calls: [(&str, &[Arg]); 1] = [(
        "net.fetch-to-file",
        &[Text("https://a.example/x"), Text("none"), Nothing(5), Text("/opt/tool"), Number(0o755)],
    )];
    let needs = ["net.fetch https://a.example/ none", "target.write /opt/*"];
    let public = vec![IpAddr::from([93, 184, 216, 34])];
    let built = fixture(&calls, &needs, "install").build(|machine| {
        machine.hops = vec![("https://a.example/x", public.clone())];
        machine.contents = "tool";
    });
    well(&built);
    assert_eq!(contents(&built, "/opt/tool").as_deref(), Some("tool"));
    // The redirect leads to a server that was not asked for, or to the metadata of a cloud.
    for hop in [
        ("https://b.example/x", public.clone()),
        ("https://a.example/y", vec![IpAddr::from([169, 254, 169, 254])]),
    ] {
        let built = fixture(&calls, &needs, "install").build(|machine| {
            machine.hops = vec![("https://a.example/x", public.clone()), hop.clone()];
            machine.contents = "tool";
        });
        let connected =
            |url: &str| built.machine.borrow().calls.iter().any(|call| call == &format!("connect {url}"));
        assert!(connected("https://a.example/x") && !connected(hop.0), "{hop:?}");
        assert_eq!(contents(&built, "/opt/tool"), None);
        let failure = match &built.outcome {
            Err(failure) => failure,
            Ok(_) => panic!("{hop:?} was to be refused"),
        };
        assert_eq!(failure.kind.exit_code(), 3, "{failure}");
    }
}

#[test]
fn nothing_leaves_the_machine_in_a_rehearsal() {
    let calls: [(&str, &[Arg]); 1] =
        [("net.fetch", &[Text("https://a.example/x"), Text("none"), Nothing(5)])];
    let needs = ["net.fetch https://a.example/ none", "packages.install curl"];
    let built = fixture(&calls, &needs, "install").build(|machine| {
        machine.hops = vec![("https://a.example/x", vec![IpAddr::from([93, 184, 216, 34])])];
    });
    well(&built);
    let machine = built.machine.borrow();
    assert_eq!(
        machine.calls.iter().filter(|call| call.starts_with("connect ")).count(),
        1,
        "{:?}",
        machine.calls
    );
}

#[test]
fn settings_of_the_kernel_become_files() {
    let calls: [(&str, &[Arg]); 6] = [
        ("kernel.add-argument", &[Text("quiet"), Text("")]),
        ("kernel.add-argument", &[Text("console"), Text("ttyS0")]),
        ("kernel.add-argument", &[Text("quiet"), Text("")]),
        ("kernel.load-module", &[Text("tun")]),
        ("kernel.set-sysctl", &[Text("vm.swappiness"), Text("10")]),
        ("kernel.set-sysctl", &[Text("vm.swappiness"), Text("20")]),
    ];
    let needs = ["kernel.cmdline *", "kernel.modules tun", "sysctl vm.*"];
    // An element that can't write there can't lead the file elsewhere either: it is written only where it belongs.
    let built = fixture(&calls, &needs, "install").build(|_| {});
    well(&built);
    let heading = "# Written by the dibw element guest.\n";
    for (path, text) in [
        (
            "/etc/default/grub.d/50-dibw-guest.cfg",
            "GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX console=ttyS0 quiet\"\n",
        ),
        ("/etc/modules-load.d/50-dibw-guest.conf", "tun\n"),
        ("/etc/sysctl.d/60-dibw-guest.conf", "vm.swappiness = 20\n"),
    ] {
        assert_eq!(contents(&built, path), Some(format!("{heading}{text}")), "{path}");
    }
    let planted = fixture(&calls, &needs, "install")
        .build(|machine: &mut Double| machine.plant_link("etc/sysctl.d", "cron.d"));
    let failure = match planted.outcome {
        Err(failure) => failure.to_string(),
        Ok(_) => panic!("a link in the place of a directory was followed"),
    };
    assert!(
        failure.contains("/etc/sysctl.d/60-dibw-guest.conf leads to /etc/cron.d/60-dibw-guest.conf"),
        "{failure}"
    );
}

#[test]
fn a_repository_of_the_catalogue_comes_with_its_key() {
    let calls: [(&str, &[Arg]); 1] = [("packages.add-repository", &[Text("acme")])];
    let mut fixture = fixture(&calls, &["packages.repo_add acme"], "pre-install");
    let repository = Repository {
        url: "https://apt.example/debian".to_owned(),
        suites: vec!["bookworm".to_owned()],
        components: vec!["main".to_owned()],
        key: b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n".to_vec(),
    };
    fixture.offers.repositories.insert("acme".to_owned(), repository);
    let built = fixture.build(|_| {});
    well(&built);
    let source = contents(&built, "/etc/apt/sources.list.d/dibw-acme.sources").unwrap_or_default();
    assert!(source.ends_with("Signed-By: /etc/apt/keyrings/dibw-acme.asc\n"), "{source}");
    assert!(contents(&built, "/etc/apt/keyrings/dibw-acme.asc").is_some());
    // What is known of packages is out of date: the index is fetched for the transaction that follows.
    let updates = |built: &Built| {
        built
            .machine
            .borrow()
            .calls
            .iter()
            .filter(|call| call.contains("apt-get") && call.contains("update"))
            .count()
    };
    assert_eq!(updates(&built), 1);
}

#[test]
fn a_boot_loader_needs_its_phase_and_its_package() {
    let calls: [(&str, &[Arg]); 1] = [("bootloader.install", &[Text("grub-pc")])];
    let needs = ["bootloader.install grub-pc"];
    let said = |phase: &str| match fixture(&calls, &needs, phase).build(|_| {}).outcome {
        Err(failure) => failure.to_string(),
        Ok(_) => panic!("it was to fail"),
    };
    for (phase, reason) in [
        ("install", "grub-pc can't be installed in install: there is a disk in finalise only"),
        (
            "finalise",
            "/usr/sbin/grub-install of the target, which grub-pc is installed with; install the package grub2-common first",
        ),
    ] {
        let said = said(phase);
        assert!(said.contains(reason), "{said}");
    }
    let built = fixture(&calls, &needs, "finalise").build(|machine| {
        for file in ["usr/sbin/grub-install", "usr/sbin/grub-mkconfig", "usr/lib/grub/i386-pc/boot.img"] {
            machine.plant_file(file);
        }
    });
    well(&built);
    let machine = built.machine.borrow();
    let call =
        machine.calls.iter().find(|call| call.contains("grub-install --target=i386-pc")).expect("it was run");
    assert!(call.ends_with("grub-pc /dev/image0 "), "{call}");
}
