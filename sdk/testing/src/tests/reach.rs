//! What an element reaches beyond the target's files, against the mock.

use dibw_sdk::prelude::*;

use super::denied;
use crate::Mock;

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
        ("large-cache", "cache.rw", "2001"),
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
