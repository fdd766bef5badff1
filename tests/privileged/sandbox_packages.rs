//! Real packages install in the sandbox as they do in a plain chroot. Needs root and the Debian mirror.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use dibw_sys::sandbox::{Extras, Network, SandboxCommand};
use dibw_tests::sandbox_target::{SandboxTarget, shell_command};

const PROBE: &str = env!("CARGO_BIN_EXE_sandbox-probe");
/// One with file capabilities, one with users, groups, setgid and services.
const PACKAGES: &str = "iputils-ping openssh-server";

#[test]
fn packages_install_with_the_owners_modes_and_capabilities_of_a_chroot() -> Result<()> {
    let test = "packages_install_with_the_owners_modes_and_capabilities_of_a_chroot";
    let Some(mut caged) = SandboxTarget::new(test, PROBE)? else { return Ok(()) };
    let Some(mut plain) = SandboxTarget::new(test, PROBE)? else { return Ok(()) };
    if std::net::TcpStream::connect("deb.debian.org:80").is_err() {
        eprintln!("SKIPPED {test}: needs the Debian mirror");
        return Ok(());
    }
    let script = format!(
        "set -e; export DEBIAN_FRONTEND=noninteractive; apt-get update -qq; \
         apt-get install -qq -y --no-install-recommends {PACKAGES}; apt-get clean"
    );
    let extras = Extras { network: Network::Host, ..Extras::default() };
    let outcome = caged.run(&SandboxCommand { extras, ..shell_command(&script) })?;
    ensure!(outcome.finished.success(), "{}\n{}", outcome.finished.tail.join("\n"), outcome.stderr);
    let bare = caged.shell("test -x /usr/sbin/sshd && getent hosts deb.debian.org")?;
    assert_eq!(bare.finished.status.code(), 2, "names are found without network");

    // The reference: real root, a plain chroot, the host's own /proc and /dev, as diskimage-builder does it.
    let root = plain.tree.mount_plain()?.to_owned();
    // mmdebstrap has left one; this changes its contents only.
    std::fs::write(root.join("etc/resolv.conf"), std::fs::read("/etc/resolv.conf")?)?;
    let chroot = format!(
        "mount -t proc proc '{0}/proc'; mount --bind /dev '{0}/dev'; chroot '{0}' sh -c '{script}'",
        root.display()
    );
    let mut reference = std::process::Command::new("unshare");
    let reference = reference.args(["-m", "-p", "-f", "--kill-child", "sh", "-c", &chroot]).output()?;
    ensure!(reference.status.success(), "{}", String::from_utf8_lossy(&reference.stderr));

    let expected = metadata(&root)?;
    let found = metadata(caged.tree.mount_plain()?)?;
    let differ: Vec<_> = expected
        .keys()
        .chain(found.keys())
        .filter(|path| expected.get(*path) != found.get(*path))
        .map(|path| {
            format!(
                "{}: {:?} in a chroot, {:?} in the sandbox",
                path.display(),
                expected.get(path),
                found.get(path)
            )
        })
        .collect();
    assert!(expected.len() > 5000);
    assert!(differ.is_empty(), "{differ:#?}");
    let ping = found.get(Path::new("usr/bin/ping"));
    assert!(ping.is_some_and(|ping| ping.contains("security.capability")), "{ping:?}");
    Ok(())
}

/// Kind, mode, owner, link target and extended attributes of every entry, but for what no two installations share.
fn metadata(root: &Path) -> Result<BTreeMap<PathBuf, String>> {
    const PRIVATE: [&str; 4] = ["tmp", "run", "var/log", "var/cache"];
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(&next)? {
            let path = entry?.path();
            let name = path.strip_prefix(root)?.to_owned();
            if PRIVATE.iter().any(|dir| name.starts_with(dir)) {
                continue;
            }
            let status = std::fs::symlink_metadata(&path)?;
            let link = std::fs::read_link(&path).unwrap_or_default();
            let mut names = [0; 4096];
            let length = rustix::fs::llistxattr(&path, &mut names)?;
            let mut line =
                format!("{:o} {}:{} {}", status.mode(), status.uid(), status.gid(), link.display());
            for attribute in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
                let attribute = std::str::from_utf8(attribute)?;
                let mut value = [0; 4096];
                let length = rustix::fs::lgetxattr(&path, attribute, &mut value)?;
                line.push_str(&format!(" {attribute}={:x?}", &value[..length]));
            }
            if status.is_dir() {
                open.push(path);
            }
            found.insert(name, line);
        }
    }
    Ok(found)
}
