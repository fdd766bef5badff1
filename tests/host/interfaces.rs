//! Every interface that reaches beyond the target's files: refused without a need, refused by risk, done and recorded with a grant; and what
//! a hostile guest would try with each.

mod support;

use std::net::IpAddr;

use dibw_host::{FailureKind, HookFailure, Limits};
use dibw_policy::{Effective, Identity, Need, Policy};
use support::Double;

/// An argument of a call.
#[derive(Clone, Copy)]
enum Arg<'a> {
    Text(&'a str),
    Number(u32),
    NoHeader,
    Header(&'a str, &'a str),
}

use Arg::{Header, NoHeader, Number, Text};

/// A guest that makes one call and returns what the host answered: the contract's results all begin alike.
fn guest(function: &str, arguments: &[Arg<'_>]) -> String {
    let (mut data, mut pushed, mut count) = (String::new(), String::new(), 0);
    let mut push = |number: usize| {
        pushed.push_str(&format!(" (i32.const {number})"));
        count += 1;
    };
    let mut text = |text: &str, push: &mut dyn FnMut(usize)| {
        push(4096 + data.len());
        push(text.len());
        data.push_str(text);
    };
    for argument in arguments {
        match argument {
            Text(words) => text(words, &mut push),
            Number(number) => push(*number as usize),
            NoHeader => (0..5).for_each(|_| push(0)),
            Header(name, secret) => {
                push(1);
                text(name, &mut push);
                text(secret, &mut push);
            }
        }
    }
    let (interface, name) = function.split_once('.').unwrap_or_default();
    format!(
        r#"(module
            (import "dibw:element/{interface}@0.1.0" "{name}" (func $call (param {})))
            (memory (export "memory") 64)
            (data (i32.const 4096) "{data}")
            (global $free (mut i32) (i32.const 65536))
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
                (local.set $at (i32.and (i32.add (global.get $free) (i32.const 15)) (i32.const -16)))
                (global.set $free (i32.add (local.get $at) (local.get 3)))
                (local.get $at))
            (func $author (export "dibw:element/lifecycle@0.1.0#run") (param i32 i32) (result i32)
                (call $call{pushed} (i32.const 1024)) (i32.const 1024)))"#,
        "i32 ".repeat(count + 1)
    )
}

fn run(
    function: &str,
    arguments: &[Arg<'_>],
    needs: &[&str],
    lent: Double,
) -> (Result<(), HookFailure>, Double) {
    support::run(&guest(function, arguments), needs, Limits::default(), lent)
}

const DIGEST: &str = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
const URL: &str = "https://a.example/x";

struct Case {
    function: &'static str,
    arguments: &'static [Arg<'static>],
    needs: &'static [&'static str],
    done: &'static str,
    audit: &'static [&'static str],
}

const CASES: [Case; 14] = [
    Case {
        function: "net.fetch",
        arguments: &[Text(URL), Text(DIGEST), NoHeader],
        needs: &["net.fetch https://a.example/"],
        done: r#"fetch https://a.example/x Sha256("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")"#,
        audit: &["allow net.fetch https://a.example/x required"],
    },
    Case {
        function: "net.fetch",
        arguments: &[Text(URL), Text("none"), Header("Authorization", "token")],
        needs: &["net.fetch https://a.example/ none", "secret.use token header https://a.example"],
        done: "fetch https://a.example/x Unknown with Authorization from token",
        audit: &[
            "allow net.fetch https://a.example/x none",
            "allow secret.use token header https://a.example",
        ],
    },
    Case {
        function: "net.fetch-to-file",
        arguments: &[Text(URL), Text("first-use"), NoHeader, Text("/opt/x"), Number(0o755)],
        needs: &["net.fetch https://a.example/ first-use", "target.write /opt/*"],
        done: "keep /opt/x 755",
        audit: &["allow target.write /opt/x", "allow net.fetch https://a.example/x first-use"],
    },
    Case {
        function: "inputs.read",
        arguments: &[Text("site-ca")],
        needs: &["host.input site-*"],
        done: "input site-ca",
        audit: &["allow host.input site-ca"],
    },
    Case {
        function: "secrets.write-file",
        arguments: &[Text("password"), Text("/opt/password"), Number(0o600)],
        needs: &["secret.use password file /opt/*", "target.write /opt/*"],
        done: "secret password /opt/password 600",
        audit: &["allow target.write /opt/password", "allow secret.use password file /opt/password"],
    },
    Case {
        function: "cache.get",
        arguments: &[Text("key")],
        needs: &["cache.rw 1MiB"],
        done: "cached key",
        audit: &["allow cache.rw 0"],
    },
    Case {
        function: "cache.put",
        arguments: &[Text("key"), Text("value")],
        needs: &["cache.rw 5"],
        done: "cache key 5 bytes",
        audit: &["allow cache.rw 5"],
    },
    Case {
        function: "mounts.request",
        arguments: &[Text("tmpfs"), Text("/mnt")],
        needs: &["mount.request tmpfs /mnt"],
        done: "mount tmpfs /mnt",
        audit: &["allow mount.request tmpfs /mnt"],
    },
    Case {
        function: "kernel.add-argument",
        arguments: &[Text("console"), Text("ttyS0,115200")],
        needs: &["kernel.cmdline console"],
        done: "argument console=ttyS0,115200",
        audit: &["allow kernel.cmdline console"],
    },
    Case {
        function: "kernel.add-argument",
        arguments: &[Text("mitigations"), Text("off")],
        needs: &["kernel.cmdline mitigations", "kernel.cmdline_unsafe mitigations"],
        done: "argument mitigations=off",
        audit: &["allow kernel.cmdline mitigations"],
    },
    Case {
        function: "kernel.load-module",
        arguments: &[Text("br_netfilter")],
        needs: &["kernel.modules br_*"],
        done: "module br_netfilter",
        audit: &["allow kernel.modules br_netfilter"],
    },
    Case {
        function: "kernel.set-sysctl",
        arguments: &[Text("net.ipv4.ip_forward"), Text("1")],
        needs: &["sysctl net.*"],
        done: "sysctl net.ipv4.ip_forward=1",
        audit: &["allow sysctl net.ipv4.ip_forward"],
    },
    Case {
        function: "packages.add-repository",
        arguments: &[Text("acme")],
        needs: &["packages.repo_add acme"],
        done: "repository acme",
        audit: &["allow packages.repo_add acme"],
    },
    Case {
        function: "bootloader.install",
        arguments: &[Text("grub-efi")],
        needs: &["bootloader.install grub-efi"],
        done: "bootloader grub-efi",
        audit: &["allow bootloader.install grub-efi"],
    },
];

#[test]
fn what_is_granted_is_done_and_recorded() {
    for case in CASES {
        let (result, lent) = run(case.function, case.arguments, case.needs, Double::default());
        assert_eq!(result, Ok(()), "{}", case.function);
        assert_eq!(lent.done.last().map(String::as_str), Some(case.done), "{}", case.function);
        assert_eq!(lent.audit, case.audit, "{}", case.function);
    }
}

#[test]
fn each_need_that_is_missing_is_refused_and_nothing_is_done() {
    for case in CASES {
        for missing in 0..case.needs.len() {
            let mut needs = case.needs.to_vec();
            let left_out = needs.remove(missing);
            let (result, lent) = run(case.function, case.arguments, &needs, Double::default());
            let failure = result.expect_err(case.function);
            assert_eq!(failure.exit_code(), 3, "{}: {failure}", case.function);
            assert!(matches!(failure.kind, FailureKind::Denied(_)), "{}: {failure}", case.function);
            assert!(failure.to_string().contains("in the element's needs!: "), "{failure}");
            assert_eq!(lent.done, Vec::<String>::new(), "{} without {left_out}", case.function);
            assert!(lent.audit.iter().any(|line| line.starts_with("deny ")), "{:?}", lent.audit);
        }
    }
}

#[test]
fn risk_four_needs_the_command_line() {
    for case in CASES {
        let needs: Vec<Need> = case
            .needs
            .iter()
            .filter_map(|need| need.split_once(' '))
            .filter_map(|(capability, value)| Need::new(capability.parse().ok()?, value).ok())
            .collect();
        let risky = needs.iter().any(|need| need.risk() > 3);
        let mut asked = support::call(case.needs, Limits::default(), Double::default());
        asked.effective = Effective::new(&Identity::named("guest"), &needs, &Policy::default(), &[]);
        let bytes =
            support::component(&guest(case.function, case.arguments), Some(&support::manifest(case.needs)));
        let host = dibw_host::Host::without_cache().expect("this machine runs wasmtime");
        let loaded = host.load(&bytes).expect("the guest fits the contract");
        let result = host.run_hook(&loaded, asked).result;
        assert_eq!(result.is_err(), risky, "{}: {result:?}", case.function);
        if let Err(failure) = result {
            assert!(failure.to_string().contains("on the command line: --grant 'guest:"), "{failure}");
        }
    }
}

#[test]
fn requests_that_make_no_sense_are_refused_whatever_is_granted() {
    let everything = [
        "net.fetch https://* none",
        "net.address 0.0.0.0/0",
        "target.write /**",
        "target.write_privileged *",
        "secret.use * file /**",
        "secret.use token header https://a.example",
        "host.input *",
        "cache.rw 1GiB",
        "mount.request tmpfs /**",
        "mount.request cache /**",
        "kernel.cmdline *",
        "kernel.cmdline_unsafe *",
        "kernel.modules *",
        "sysctl *",
        "bootloader.install *",
        "packages.repo_add *",
    ];
    let long = "k".repeat(300);
    let cases: &[(&str, &[Arg<'_>])] = &[
        // Other schemes, credentials, spellings that libraries disagree on.
        ("net.fetch", &[Text("file:///etc/shadow"), Text("none"), NoHeader]),
        ("net.fetch", &[Text("https://user:pw@a.example/"), Text("none"), NoHeader]),
        ("net.fetch", &[Text("https://a.example/../x"), Text("none"), NoHeader]),
        ("net.fetch", &[Text("https://2130706433/"), Text("none"), NoHeader]),
        // Machines that nothing is ever sent to.
        ("net.fetch", &[Text("https://169.254.169.254/latest/"), Text("none"), NoHeader]),
        ("net.fetch", &[Text("https://[fe80::1]/"), Text("none"), NoHeader]),
        ("net.fetch", &[Text("https://[fd00:ec2::254]/"), Text("none"), NoHeader]),
        // Checksums.
        ("net.fetch", &[Text(URL), Text("required"), NoHeader]),
        ("net.fetch", &[Text(URL), Text("sha256:00"), NoHeader]),
        ("net.fetch", &[Text(URL), Text("md5:d41d8cd98f00b204e9800998ecf8427e"), NoHeader]),
        ("net.fetch", &[Text(URL), Text(""), NoHeader]),
        // Headers that would change where the request goes, or smuggle another.
        ("net.fetch", &[Text(URL), Text("none"), Header("Host", "token")]),
        ("net.fetch", &[Text(URL), Text("none"), Header("Transfer-Encoding", "token")]),
        ("net.fetch", &[Text(URL), Text("none"), Header("A\\0d\\0aB", "token")]),
        ("net.fetch", &[Text(URL), Text("none"), Header("", "token")]),
        // A secret for another server.
        ("net.fetch", &[Text("https://b.example/x"), Text("none"), Header("Authorization", "token")]),
        ("net.fetch-to-file", &[Text(URL), Text("none"), NoHeader, Text("/../x"), Number(0o644)]),
        ("net.fetch-to-file", &[Text(URL), Text("none"), NoHeader, Text("/proc/x"), Number(0o644)]),
        ("net.fetch-to-file", &[Text(URL), Text("none"), NoHeader, Text("/x"), Number(0o4755)]),
        ("inputs.read", &[Text("../../etc/shadow")]),
        ("inputs.read", &[Text("/etc/shadow")]),
        ("inputs.read", &[Text("")]),
        ("secrets.write-file", &[Text("../x"), Text("/x"), Number(0o600)]),
        ("secrets.write-file", &[Text("token"), Text("/dev/stdout"), Number(0o600)]),
        ("secrets.write-file", &[Text("token"), Text("/sys/x"), Number(0o600)]),
        ("secrets.write-file", &[Text("token"), Text("/x"), Number(0o6755)]),
        ("cache.get", &[Text("")]),
        ("cache.get", &[Text("a\\00b")]),
        ("cache.get", &[Text(&long)]),
        ("cache.put", &[Text("a\\0ab"), Text("x")]),
        ("mounts.request", &[Text("bind"), Text("/mnt")]),
        ("mounts.request", &[Text("tmpfs"), Text("/")]),
        ("mounts.request", &[Text("tmpfs"), Text("/proc")]),
        ("mounts.request", &[Text("tmpfs"), Text("/proc/sys")]),
        ("mounts.request", &[Text("tmpfs"), Text("/sys/kernel")]),
        ("mounts.request", &[Text("tmpfs"), Text("/dev")]),
        ("mounts.request", &[Text("tmpfs"), Text("/mnt/../proc")]),
        ("mounts.request", &[Text("esp"), Text("/mnt")]),
        ("kernel.add-argument", &[Text("a b"), Text("")]),
        ("kernel.add-argument", &[Text("a"), Text("$(reboot)")]),
        ("kernel.add-argument", &[Text("a"), Text("x\\22; reboot #")]),
        ("kernel.load-module", &[Text("../../x")]),
        ("kernel.load-module", &[Text("a\\0ab")]),
        ("kernel.set-sysctl", &[Text("kernel.core_pattern"), Text("|/x")]),
        ("kernel.set-sysctl", &[Text("kernel.modprobe"), Text("/x")]),
        ("kernel.set-sysctl", &[Text("a.b"), Text("1\\0akernel.modprobe = /x")]),
        ("bootloader.install", &[Text("lilo")]),
        ("packages.add-repository", &[Text("../x")]),
        ("packages.add-repository", &[Text("deb https://evil.example /")]),
    ];
    for (function, arguments) in cases {
        let (result, lent) = run(function, arguments, &everything, Double::default());
        let shown = arguments.iter().map(|argument| match argument {
            Text(text) => format!(" {text}"),
            Header(name, _) => format!(" {name}"),
            Number(number) => format!(" {number:o}"),
            NoHeader => String::new(),
        });
        let shown: String = shown.collect();
        assert!(result.is_err(), "{function}{shown}");
        assert_eq!(lent.done, Vec::<String>::new(), "{function}{shown}");
    }
}

/// Where a name leads, and where a redirect leads, is decided before a connection is made.
#[test]
fn every_hop_of_a_download_is_decided_with_its_addresses() {
    let needs =
        ["net.fetch https://a.example/ none", "net.fetch https://b.example/ none", "net.address 10.0.0.0/8"];
    let hop = |url: &str, addresses: &[&str]| {
        let addresses: Vec<IpAddr> = addresses.iter().filter_map(|text| text.parse().ok()).collect();
        (url.to_owned(), addresses)
    };
    let cases = [
        (vec![hop(URL, &["93.184.216.34"])], None),
        (vec![hop(URL, &["93.184.216.34"]), hop("https://b.example/y", &["2606:2800:220::1"])], None),
        (vec![hop(URL, &["10.1.2.3"])], None),
        (vec![hop(URL, &["192.168.0.1"])], Some(URL)),
        (vec![hop(URL, &["127.0.0.1"])], Some(URL)),
        (vec![hop(URL, &["93.184.216.34", "169.254.169.254"])], Some(URL)),
        (vec![hop(URL, &["fe80::1"])], Some(URL)),
        (vec![hop(URL, &["::ffff:169.254.169.254"])], Some(URL)),
        (
            vec![hop(URL, &["93.184.216.34"]), hop("https://c.example/", &["93.184.216.34"])],
            Some("https://c.example/"),
        ),
        (
            vec![hop(URL, &["93.184.216.34"]), hop("http://b.example/", &["93.184.216.34"])],
            Some("http://b.example/"),
        ),
        (
            vec![hop(URL, &["93.184.216.34"]), hop("https://b.example/", &["169.254.169.254"])],
            Some("https://b.example/"),
        ),
        (
            vec![hop(URL, &["93.184.216.34"]), hop("https://169.254.169.254/", &[])],
            Some("https://169.254.169.254/"),
        ),
        (vec![hop(URL, &["93.184.216.34"]), hop("file:///etc/shadow", &[])], Some("file:///etc/shadow")),
    ];
    for (hops, refused) in cases {
        let lent = Double { hops: hops.clone(), ..Double::default() };
        let (result, lent) = run("net.fetch", &[Text(URL), Text("none"), NoHeader], &needs, lent);
        let connected: Vec<&str> =
            lent.done.iter().filter_map(|line| line.strip_prefix("connect ")).collect();
        let until =
            refused.map_or(hops.len(), |url| hops.iter().position(|(hop, _)| hop == url).unwrap_or(0));
        let allowed: Vec<&str> = hops[..until].iter().map(|(url, _)| url.as_str()).collect();
        assert_eq!(connected, allowed, "{hops:?}");
        assert_eq!(result.is_err(), refused.is_some(), "{hops:?}: {result:?}");
        // The URL itself, and then every hop that was looked at.
        assert_eq!(lent.audit.len(), 1 + until + usize::from(refused.is_some()), "{:?}", lent.audit);
        if let Err(failure) = result
            && refused != Some("file:///etc/shadow")
        {
            assert_eq!(failure.exit_code(), 3, "{failure}");
        }
    }
}

#[test]
fn a_planted_link_takes_neither_download_nor_secret_nor_mount_elsewhere() {
    let links = || vec![("/opt/link".to_owned(), "/etc/cron.d".to_owned())];
    let cases: [(&str, &[Arg<'_>], &[&str]); 3] = [
        (
            "net.fetch-to-file",
            &[Text(URL), Text("none"), NoHeader, Text("/opt/link/job"), Number(0o644)],
            &["net.fetch https://a.example/ none", "target.write /opt/**"],
        ),
        (
            "secrets.write-file",
            &[Text("token"), Text("/opt/link/job"), Number(0o600)],
            &["secret.use token file /opt/**", "target.write /opt/**"],
        ),
        ("mounts.request", &[Text("tmpfs"), Text("/opt/link/job")], &["mount.request tmpfs /opt/**"]),
    ];
    for (function, arguments, needs) in cases {
        let lent = Double { links: links(), ..Double::default() };
        let (result, lent) = run(function, arguments, needs, lent);
        assert_eq!(result.map_err(|failure| failure.exit_code()), Err(3), "{function}");
        assert_eq!(lent.done, Vec::<String>::new(), "{function}");
    }
    // A link in the place itself is no place to mount on.
    let lent = Double { kind: Some("symlink"), ..Double::default() };
    let (result, lent) =
        run("mounts.request", &[Text("tmpfs"), Text("/mnt")], &["mount.request tmpfs /mnt"], lent);
    assert_eq!(
        result.map_err(|failure| failure.message),
        Err("/mnt is no directory but a symlink: nothing is mounted there".to_owned())
    );
    assert_eq!(lent.done, Vec::<String>::new());
}

#[test]
fn the_whole_cache_counts() {
    let put: &[Arg<'_>] = &[Text("key"), Text("value")];
    let lent = || Double { cached: 95, ..Double::default() };
    assert_eq!(run("cache.put", put, &["cache.rw 100"], lent()).0, Ok(()));
    let (result, lent) = run("cache.put", put, &["cache.rw 99"], lent());
    assert_eq!(result.map_err(|failure| failure.exit_code()), Err(3));
    assert_eq!(lent.audit, ["allow cache.rw 5", "deny cache.rw 100"]);
    assert_eq!(lent.done, Vec::<String>::new());
}

#[test]
fn what_comes_to_a_guest_is_no_larger_than_a_file() {
    let limits = Limits { file_bytes: 100, ..Limits::default() };
    let input = guest("inputs.read", &[Text("big")]);
    let lent = Double { bytes: vec![b'x'; 101], ..Double::default() };
    let (result, _) = support::run(&input, &["host.input big"], limits, lent);
    assert_eq!(
        result.map_err(|failure| failure.message),
        Err("input big: 101 bytes are more than 100 bytes".to_owned())
    );
    // A cache that has something larger has nothing.
    let lent = Double { bytes: vec![b'x'; 101], ..Double::default() };
    let (result, _) = support::run(&guest("cache.get", &[Text("k")]), &["cache.rw 1MiB"], limits, lent);
    assert_eq!(result, Ok(()));
    let put = guest("cache.put", &[Text("k"), Text(&"x".repeat(101))]);
    let (result, lent) = support::run(&put, &["cache.rw 1MiB"], limits, Double::default());
    assert_eq!(
        result.map_err(|failure| failure.message),
        Err("a cache entry: 101 bytes are more than 100 bytes".to_owned())
    );
    assert_eq!(lent.done, Vec::<String>::new());
}

#[test]
fn nothing_is_fetched_unrecorded() {
    let hops = vec![(URL.to_owned(), vec![IpAddr::from([93, 184, 216, 34])])];
    for room in [0, 1] {
        let lent = Double { hops: hops.clone(), audit_room: Some(room), ..Double::default() };
        let needs = ["net.fetch https://a.example/ none"];
        let (result, lent) = run("net.fetch", &[Text(URL), Text("none"), NoHeader], &needs, lent);
        assert!(result.is_err(), "{room}");
        assert_eq!(lent.done, Vec::<String>::new(), "{room}");
    }
}
