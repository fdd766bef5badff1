//! The mock against itself: what it refuses, what it records, what it says.

use std::panic::{AssertUnwindSafe, catch_unwind};

use dibw_sdk::prelude::*;

use crate::{Mock, Unit};

/// Does whatever its settings say.
#[derive(Config)]
struct Probe {
    write: Option<String>,
    link: Option<String>,
    package: Option<String>,
    unit: Option<String>,
    run: Vec<String>,
    edit: Option<String>,
    remove: Option<String>,
    user: Option<String>,
    variable: Option<String>,
}

#[hooks]
impl Element for Probe {
    fn install(&self, cx: &Cx) -> Result {
        if let Some(path) = &self.write {
            cx.write(path, "text\n")?;
        }
        if let Some(path) = &self.link {
            cx.symlink("/dev/null", path)?;
        }
        if let Some(package) = &self.package {
            cx.packages([package])?;
        }
        if let Some(unit) = &self.unit {
            cx.mask(unit)?;
        }
        if !self.run.is_empty() {
            let output = cx.run(&self.run)?;
            cx.info(output.text());
        }
        if let Some(path) = &self.edit {
            cx.edit(path, |text| text.replace("one", "two"))?;
        }
        if let Some(path) = &self.remove {
            cx.remove(path)?;
        }
        if let Some(name) = &self.user {
            cx.add_user(Account::new(name).group("sudo"))?;
        }
        if let Some(name) = &self.variable {
            cx.set_variable("DIB_COPY", cx.variable(name)?.unwrap_or_default())?;
        }
        Ok(())
    }
}

element!(
    Probe,
    needs! {
        write "/etc/probe/**", "/etc/cron.d/probe";
        read "/etc/probe/*";
        package "probe-*";
        mask "probe.service";
        exec "/usr/bin/probe **";
        user "probe";
        variable "DIB_PROBE";
        set_variable "DIB_COPY";
    }
);

fn denied(capability: &str, subject: &str, result: Result) {
    match result {
        Err(Error::Denied { capability: asked, subject: wanted, rule: _ }) => {
            assert_eq!((asked.as_str(), wanted.as_str()), (capability, subject));
        }
        other => panic!("expected {capability} {subject} to be denied, got {other:?}"),
    }
}

#[test]
fn strict_refuses_what_the_needs_do_not_cover() {
    let cases = [
        (r#"{"write": "/etc/passwd"}"#, "target.write", "/etc/passwd"),
        (r#"{"write": "/etc/probe/../motd"}"#, "", ""),
        (r#"{"write": "/etc/cron.d/probe"}"#, "target.write_privileged", "cron"),
        (r#"{"package": "nginx"}"#, "packages.install", "nginx"),
        (r#"{"unit": "ssh.service"}"#, "service.set", "mask ssh.service"),
        (r#"{"run": ["/bin/sh", "-c", "id"]}"#, "target.exec", "/bin/sh -c id"),
        (r#"{"user": "probe"}"#, "user.privileged", "sudo"),
        (r#"{"variable": "HOME"}"#, "host.env", "HOME"),
    ];
    for (config, capability, subject) in cases {
        let mock = Mock::strict(Probe::MANIFEST);
        let result = mock.run::<Probe>(Phase::Install, config);
        if capability.is_empty() {
            assert!(matches!(result, Err(Error::Invalid(_))), "{config}: {result:?}");
        } else {
            denied(capability, subject, result);
        }
    }
}

#[test]
fn lenient_refuses_only_what_makes_no_sense() {
    let mock = Mock::lenient(Probe::MANIFEST);
    mock.run::<Probe>(Phase::Install, r#"{"write": "/etc/passwd", "package": "nginx"}"#).unwrap();
    assert_eq!(mock.packages(), ["nginx"]);
    assert!(matches!(mock.run::<Probe>(Phase::Install, r#"{"write": "etc"}"#), Err(Error::Invalid(_))));
}

#[test]
fn the_snapshot_tells_all() {
    let mock = Mock::strict(Probe::MANIFEST)
        .with_file("/etc/probe/old", "one\n")
        .with_file("/etc/probe/gone", "")
        .variable("DIB_PROBE", "v")
        .on_exec("/usr/bin/probe*", "probed\n");
    let config = r#"{"write": "/etc/probe/a/b", "link": "/etc/probe/l", "package": "probe-x", "unit": "probe.service",
        "run": ["/usr/bin/probe", "-v"], "edit": "/etc/probe/old", "remove": "/etc/probe/gone", "variable": "DIB_PROBE"}"#;
    mock.run::<Probe>(Phase::Install, config).unwrap();
    assert_eq!(
        mock.snapshot(),
        "allow target.write /etc/probe/a/b\n\
         allow target.write /etc/probe/l\n\
         allow packages.install probe-x\n\
         allow service.set mask probe.service\n\
         allow target.exec /usr/bin/probe -v\n\
         allow target.read /etc/probe/old\n\
         allow target.read /etc/probe/old\n\
         allow target.write /etc/probe/old\n\
         allow target.write /etc/probe/gone\n\
         allow host.env DIB_PROBE\n\
         allow env.set DIB_COPY\n\
         --- /etc/probe/a/b 0644\ntext\n\
         --- /etc/probe/gone removed\n\
         --- /etc/probe/l -> /dev/null\n\
         --- /etc/probe/old 0644\ntwo\n"
    );
    assert_eq!(mock.unit("probe.service"), Some(Unit::Masked));
    assert_eq!(mock.log(), [("info".to_owned(), "probed".to_owned())]);
    assert_eq!(mock.variable_now("DIB_COPY").as_deref(), Some("v"));
}

#[test]
fn needs_that_nothing_used_are_named() {
    let mock = Mock::strict(Probe::MANIFEST);
    mock.run::<Probe>(Phase::Install, r#"{"package": "probe-x", "write": "/etc/probe/x"}"#).unwrap();
    let panic = catch_unwind(AssertUnwindSafe(|| mock.assert_all_used())).unwrap_err();
    assert_eq!(
        panic.downcast_ref::<String>().unwrap(),
        "needs that were never used: write \"/etc/cron.d/probe\"; read \"/etc/probe/*\"; mask \"probe.service\"; \
         exec \"/usr/bin/probe **\"; user \"probe\"; env \"DIB_PROBE\"; set_env \"DIB_COPY\";"
    );
}

#[test]
fn programs_can_fail() {
    let mock = Mock::strict(Probe::MANIFEST).on_exec_fail("/usr/bin/probe -x", 3, "no such option");
    let error = mock.run::<Probe>(Phase::Install, r#"{"run": ["/usr/bin/probe", "-x"]}"#).unwrap_err();
    assert_eq!(error.to_string(), "`/usr/bin/probe -x` ended with status 3:\nno such option");
}

/// Reaches for whatever its settings say.
#[derive(Config)]
struct Reach {
    what: String,
}

/// SHA-256 of `tool`.
const TOOL: &str = "7c9bbe5ec9b3fb774e8fa0f54247e93c34ddf8e5d16fe3073420de0ae81a262d";

#[hooks]
impl Element for Reach {
    fn install(&self, cx: &Cx) -> Result {
        let url = "https://a.example/tool";
        match self.what.as_str() {
            "tool" => cx.fetch(url).sha256(TOOL).mode(0o755).to("/opt/tool"),
            "wrong-tool" => cx.fetch(url).sha256("0".repeat(64)).to("/opt/tool"),
            "no-checksum" => cx.fetch(url).bytes().map(drop),
            "unchecked" => cx.fetch(url).unchecked().bytes().map(drop),
            "with-secret" => {
                cx.fetch(url).first_use().secret_header("Authorization", "token").bytes().map(drop)
            }
            "other-host" => cx.fetch("https://b.example/tool").sha256(TOOL).bytes().map(drop),
            "unknown-url" => cx.fetch("https://a.example/other").sha256(TOOL).bytes().map(drop),
            "input" => cx.write("/opt/ca", cx.input_text("site-ca")?),
            "other-input" => cx.input("passwords").map(drop),
            "secret" => cx.write_secret("token", "/opt/token"),
            "other-secret" => cx.write_secret("other", "/opt/token"),
            "secret-elsewhere" => cx.write_secret("token", "/etc/motd"),
            "cache" => {
                let seen = cx.cached("seen")?.unwrap_or_default();
                cx.cache("seen", [seen.as_slice(), b"x"].concat())
            }
            "large-cache" => cx.cache("large", vec![0; 2000]),
            "mounts" => cx.mount_tmpfs("/mnt").and_then(|()| cx.mount_cache("/var/cache/x")),
            "mount-elsewhere" => cx.mount_tmpfs("/proc"),
            "kernel" => {
                cx.kernel_argument("console", "ttyS0")?;
                cx.kernel_flag("quiet")?;
                cx.kernel_flag("quiet")?;
                cx.kernel_module("tun")?;
                cx.sysctl("vm.swappiness", "10")
            }
            "unsafe-argument" => cx.kernel_argument("init", "/bin/sh"),
            "repository" => cx.repository("acme"),
            "other-repository" => cx.repository("other"),
            _ => cx.bootloader(BootLoader::GrubPc),
        }
    }

    fn finalise(&self, cx: &Cx) -> Result {
        cx.bootloader(BootLoader::GrubPc)
    }
}

element!(
    Reach,
    needs! {
        fetch "https://a.example/ first-use";
        input "site-*";
        secret "* file /opt/*", "token header https://a.example";
        cache "1KiB";
        mount "tmpfs /mnt", "cache /var/cache/*";
        kernel_argument "*";
        kernel_module "tun";
        sysctl "vm.*";
        repository "*";
        bootloader "grub-pc";
        write "/opt/*", "/etc/motd";
    }
);

fn reach(what: &str) -> (Mock, Result) {
    let mock = Mock::strict(Reach::MANIFEST)
        .with_url("https://a.example/tool", "tool")
        .with_input("site-ca", "the certificate")
        .with_secret("token")
        .with_cached("seen", "x")
        .with_repository("acme");
    let result = mock.run::<Reach>(Phase::Install, &format!(r#"{{"what": "{what}"}}"#));
    (mock, result)
}

#[test]
fn what_comes_from_outside_the_target() {
    for (what, path, contents) in [
        ("tool", "/opt/tool", "tool"),
        ("input", "/opt/ca", "the certificate"),
        ("secret", "/opt/token", "<secret token>"),
    ] {
        let (mock, result) = reach(what);
        assert_eq!((result, mock.file(path).as_deref()), (Ok(()), Some(contents)), "{what}");
    }
    assert_eq!(reach("tool").0.mode("/opt/tool"), Some(0o755));
    assert_eq!(reach("secret").0.mode("/opt/token"), Some(0o600));
    assert_eq!(reach("with-secret").1, Ok(()));
    assert_eq!(reach("cache").0.cached("seen").as_deref(), Some(&b"xx"[..]));
}

#[test]
fn how_the_image_starts_and_what_its_programs_find() {
    let (mock, result) = reach("kernel");
    assert_eq!(result, Ok(()));
    assert_eq!(mock.kernel_arguments(), ["console=ttyS0", "quiet"]);
    assert_eq!(
        (mock.kernel_modules(), mock.sysctl("vm.swappiness")),
        (vec!["tun".to_owned()], Some("10".to_owned()))
    );
    let own = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(left, right)| ((*left).to_owned(), (*right).to_owned())).collect()
    };
    assert_eq!(reach("mounts").0.mounts(), own(&[("tmpfs", "/mnt"), ("cache", "/var/cache/x")]));
    assert_eq!(reach("repository").0.repositories(), ["acme"]);
    let mock = reach("kernel").0;
    assert_eq!(mock.run::<Reach>(Phase::Finalise, r#"{"what": ""}"#), Ok(()));
    assert_eq!(mock.bootloaders(), ["grub-pc"]);
}

#[test]
fn what_is_refused_or_not_there() {
    for (what, capability, subject) in [
        ("unchecked", "net.fetch", "https://a.example/tool none"),
        ("other-host", "net.fetch", "https://b.example/tool required"),
        ("other-input", "host.input", "passwords"),
        ("secret-elsewhere", "secret.use", "token file /etc/motd"),
        ("large-cache", "cache.rw", "2000"),
        ("mount-elsewhere", "mount.request", "/proc"),
        ("unsafe-argument", "kernel.cmdline_unsafe", "init"),
    ] {
        denied(capability, subject, reach(what).1);
    }
    for (what, said) in [
        ("wrong-tool", "https://a.example/tool: SHA-256 is "),
        ("no-checksum", "https://a.example/tool: say what is known of the contents: "),
        ("unknown-url", "not found: https://a.example/other"),
        ("other-secret", "not found: no secret is offered as other"),
        ("other-repository", "not found: no repository of the catalogue is called other"),
        ("bootloader", "a boot loader is installed in the phase finalise"),
    ] {
        let said_in_fact = reach(what).1.expect_err(what).to_string();
        assert!(said_in_fact.starts_with(said), "{what}: {said_in_fact}");
    }
}
