//! A target in which packages were installed offline in the `strict` sandbox is the one that real root makes in a plain chroot: path, type,
//! mode, owner, link, hard links, extended attributes, file capabilities and contents (SANDBOX.md 3.3). A sandbox that is too tight does
//! not fail, it makes another image: ping with a setuid bit for its capability, for one. Needs root, the Debian mirror and some minutes,
//! so it runs with `DIBW_TEST_FULL` only.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use dibw_sys::sandbox::{Extras, Network, SandboxCommand};
use dibw_tests::compare::allowed::Allowed;
use dibw_tests::compare::differences;
use dibw_tests::compare::inventory::Inventory;
use dibw_tests::sandbox_target::{SandboxTarget, shell_command};

const PROBE: &str = env!("CARGO_BIN_EXE_sandbox-probe");

/// Chosen for what they do when they are installed: setuid and setgid programs, file capabilities, users and groups, alternatives,
/// diversions, triggers, generated files, services.
const PACKAGES: [&str; 45] = [
    "acl",
    "at",
    "attr",
    "bash-completion",
    "ca-certificates",
    "chrony",
    "cron",
    "curl",
    "dbus",
    "fuse3",
    "gawk",
    "gnupg",
    "ifupdown",
    "initramfs-tools",
    "iproute2",
    "iputils-arping",
    "iputils-ping",
    "isc-dhcp-client",
    "kmod",
    "less",
    "libcap2-bin",
    "libpam-systemd",
    "locales",
    "logrotate",
    "man-db",
    "molly-guard",
    "mtr-tiny",
    "nano",
    "netcat-openbsd",
    "nftables",
    "openssh-server",
    "perl",
    "pkexec",
    "plocate",
    "polkitd",
    "procps",
    "python3-minimal",
    "rsync",
    "rsyslog",
    "screen",
    "sudo",
    "systemd-sysv",
    "udev",
    "vim-tiny",
    "wget",
];

/// What no two installations share, in the notation of `compare::allowed`.
const RANDOM: &str = "\
/etc/ssh/ssh_host_*_key      content  # made at random
/etc/ssh/ssh_host_*_key.pub  content  # made at random
/etc/machine-id              content  # made at random
/var/lib/dbus/machine-id     content  # made at random
/var/log/*                   content  # times
/var/cache/ldconfig/aux-cache content  # inode numbers and times
/var/cache/man/*             content  # times
";

#[test]
fn an_image_is_the_same_as_that_of_a_plain_chroot() -> Result<()> {
    let test = "an_image_is_the_same_as_that_of_a_plain_chroot";
    if std::env::var_os("DIBW_TEST_FULL").is_none_or(|value| value.is_empty()) {
        eprintln!("SKIPPED {test}: set DIBW_TEST_FULL");
        return Ok(());
    }
    let Some(mut caged) = SandboxTarget::new(test, PROBE)? else { return Ok(()) };
    let Some(mut plain) = SandboxTarget::new(test, PROBE)? else { return Ok(()) };
    let packages = PACKAGES.join(" ");
    let apt = "DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends";
    let download = format!("set -e; apt-get update -qq; {apt} --download-only install {packages}");
    let extras = Extras { network: Network::Host, ..Extras::default() };
    let outcome = caged.run(&SandboxCommand { extras, ..shell_command(&download) })?;
    ensure!(outcome.finished.success(), "{}\n{}", outcome.finished.tail.join("\n"), outcome.stderr);
    let (from, to) = (caged.tree.mount_plain()?.to_owned(), plain.tree.mount_plain()?.to_owned());
    for dir in ["var/cache/apt", "var/lib/apt"] {
        std::fs::remove_dir_all(to.join(dir))?;
        let copied = Command::new("cp").arg("-a").arg(from.join(dir)).arg(to.join(dir)).status()?;
        ensure!(copied.success(), "copy {dir}");
    }

    let install = format!("set -e; {apt} --no-download install {packages}; apt-get clean");
    let began = std::time::Instant::now();
    let outcome = caged.shell(&install)?;
    ensure!(outcome.finished.success(), "{}\n{}", outcome.finished.tail.join("\n"), outcome.stderr);
    eprintln!("sandbox: {:?}, denied: {:#?}", began.elapsed(), outcome.finished.attempts);
    let began = std::time::Instant::now();
    in_chroot(&to, &install)?;
    eprintln!("chroot: {:?}", began.elapsed());

    // The policy plugin of sudo gave up in a Landlock domain that was too tight (SANDBOX.md 3.3, fact 5).
    let sudo = caged.shell("sudo -n id -u")?;
    assert_eq!(sudo.stdout, "0\n", "{}", sudo.stderr);

    let (expected, found) = (inventory(&to)?, inventory(caged.tree.mount_plain()?)?);
    let allowed = Allowed::parse(RANDOM)?;
    let differ: Vec<String> = differences(&expected, &found)?
        .iter()
        .filter(|difference| !allowed.covers(difference))
        .map(ToString::to_string)
        .collect();
    eprintln!("{} entries compared", expected.entries.len());
    assert!(expected.entries.len() > 10_000, "{} entries", expected.entries.len());
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    for program in ["/usr/bin/ping", "/usr/bin/mtr-packet"] {
        let attributes = found.entries.get(program).map(|entry| entry.attributes_shown()).unwrap_or_default();
        assert!(attributes.contains("security.capability"), "{program}: {attributes}");
    }
    Ok(())
}

/// Real root, a plain chroot, the host's own /dev, no network, as diskimage-builder does it.
fn in_chroot(root: &Path, script: &str) -> Result<()> {
    let chroot = format!(
        "mount -t proc proc '{0}/proc'; mount --bind /dev '{0}/dev'; \
         exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C chroot '{0}' sh -c '{script}'",
        root.display()
    );
    let output = Command::new("unshare")
        .args(["-m", "-n", "-p", "-i", "-u", "-f", "--kill-child", "sh", "-c", &chroot])
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// All but what was mounted or is no part of an image.
fn inventory(root: &Path) -> Result<Inventory> {
    let mut inventory = Inventory::default();
    inventory.add_tree(root, "")?;
    inventory.entries.retain(|path, _| !["/tmp/", "/run/"].iter().any(|dir| path.starts_with(dir)));
    Ok(inventory)
}
