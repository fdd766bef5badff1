//! A real image with all shipped typed elements: what they wrote is looked up in the image, the phase's one package transaction and the record of
//! decisions in what the build says, and the booted machine shows the rest. Takes minutes, so it runs with `./dev test --full` only.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use dibw_tests::dibw::{Dibw, full, root};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIN1Yb3vBsxrNhk4KMd3bKLCgIfsf5brXVGruLW7/tS0J ann@home";
/// crypt(5) of `secret`.
const HASH: &str =
    "$6$jobc$rPzYSATHKXRwBL9hA1.88HQKmzGpoJcB4p6xNiRWDVUI/mzMmWXHUBPUkTvPmeUKIac0uLMdBg8WrLA0sGHrs1";

const ELEMENTS: [&str; 11] = [
    "debian-minimal",
    "vm",
    "block-device-gpt",
    "hostname",
    "motd",
    "users",
    "openssh-server",
    "serial-console",
    "growroot",
    "sysctl",
    "demo-report",
];

#[test]
fn all_seven_do_their_work_and_the_machine_shows_it() {
    if !full("typed_elements") || !root("typed_elements") {
        return;
    }
    let dibw = Dibw::new();
    let accounts = format!(
        "users.accounts=[{{name: ann, uid: 1500, comment: Ann, groups: [adm, crew], password-hash: '{HASH}', authorized-keys: ['{KEY}'], \
         sudo: passwordless}}, {{name: bob, authorized-keys: ['{KEY}'], sudo: password}}, {{name: demo}}, \
         {{name: worker, system: true, home: /var/lib/worker}}, {{name: root, authorized-keys: ['{KEY}']}}]"
    );
    let settings = [
        accounts.as_str(),
        "hostname.name=web7.example.org",
        "motd.text=Hello.",
        "openssh-server.permit-root-login=no",
        "sysctl.values={net.ipv4.ip_forward: 1}",
    ];
    let dibw = dibw
        .args("build --log-format plain -o seven -t qcow2,tar --image-size 3GiB".split(' '))
        .args(settings.iter().flat_map(|setting| ["--set", setting]))
        .args(ELEMENTS);
    let built = dibw.succeed();
    says_one_transaction(&built.stderr);
    records_decisions(&dibw.dir().join("seven.audit.jsonl"));
    holds_what_was_asked_for(&unpacked(dibw.dir()));
    boots(dibw);
}

/// The packages of typed hooks, of package-installs files and of the boot loader are one line: one transaction.
fn says_one_transaction(log: &str) {
    let transactions: Vec<&str> = log.lines().filter(|line| line.starts_with("      install ")).collect();
    let [transaction] = transactions[..] else { panic!("{transactions:?}") };
    for package in ["cloud-guest-utils", "openssh-server", "sudo", "linux-image-amd64", "grub-pc-bin"] {
        assert!(transaction.split(' ').any(|word| word == package), "{package}: {transaction}");
    }
    assert!(!log.contains("not foreseen"), "{log}");
}

fn records_decisions(path: &Path) {
    let text = fs::read_to_string(path).unwrap();
    let records: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let expected = [
        ("openssh-server", "install", "packages.install", "openssh-server"),
        ("serial-console", "pre-install", "env.set", "DIB_BOOTLOADER_SERIAL_CONSOLE"),
        ("hostname", "post-install", "target.write", "/etc/hostname"),
        ("users", "post-install", "user.add", "ann"),
        ("growroot", "post-install", "service.set", "enable dibw-growroot.service"),
    ];
    for (element, phase, capability, subject) in expected {
        let same = |record: &&serde_json::Value| {
            record["element"] == element
                && record["phase"] == phase
                && record["cap"] == capability
                && record["subject"] == subject
        };
        let found =
            records.iter().find(same).unwrap_or_else(|| panic!("{element} {capability} {subject}: {text}"));
        assert_eq!(found["decision"], "allow", "{found}");
    }
}

fn unpacked(directory: &Path) -> PathBuf {
    let tree = directory.join("tree");
    fs::create_dir(&tree).unwrap();
    let tar = Command::new("tar")
        .arg("-C")
        .arg(&tree)
        .arg("-xf")
        .arg(directory.join("seven.tar"))
        .status()
        .unwrap();
    assert!(tar.success(), "{tar}");
    tree
}

fn holds_what_was_asked_for(tree: &Path) {
    let text =
        |path: &str| fs::read_to_string(tree.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let line = |path: &str, start: &str| {
        text(path).lines().find(|line| line.starts_with(start)).map(str::to_owned).unwrap_or_default()
    };
    assert_eq!(text("etc/hostname"), "web7\n");
    assert_eq!(line("etc/hosts", "127.0.1.1"), "127.0.1.1\tweb7.example.org web7");
    assert_eq!(text("etc/motd"), "Hello.\n");
    assert_eq!(text("etc/sysctl.d/60-dibw-sysctl.conf").lines().last(), Some("net.ipv4.ip_forward = 1"));
    assert_eq!(line("etc/ssh/sshd_config.d/50-dibw.conf", "PermitRootLogin"), "PermitRootLogin no");
    assert_eq!(text("etc/sudoers.d/ann"), "ann ALL=(ALL:ALL) NOPASSWD: ALL\n");
    assert_eq!(text("etc/sudoers.d/bob"), "bob ALL=(ALL:ALL) ALL\n");
    assert_eq!(line("etc/passwd", "ann:"), "ann:x:1500:1500:Ann:/home/ann:/bin/bash");
    assert!(line("etc/passwd", "worker:").ends_with(":/var/lib/worker:/usr/sbin/nologin"));
    // `!` and `*` are no password: keys are the only way in.
    for (account, password) in [("ann", HASH), ("bob", "!"), ("demo", "!"), ("worker", "!"), ("root", "*")] {
        assert_eq!(line("etc/shadow", &format!("{account}:")).split(':').nth(1), Some(password), "{account}");
    }
    assert_eq!(line("etc/group", "adm:").split(':').nth(3), Some("ann"));
    assert_eq!(line("etc/group", "crew:").split(':').nth(3), Some("ann"));
    for (path, mode, owner) in [
        ("home/ann/.ssh", 0o40700, 1500),
        ("home/ann/.ssh/authorized_keys", 0o100_600, 1500),
        ("home/bob/.ssh/authorized_keys", 0o100_600, 1501),
        ("root/.ssh/authorized_keys", 0o100_600, 0),
        ("etc/sudoers.d/ann", 0o100_440, 0),
        ("usr/lib/dibw/growroot", 0o100_755, 0),
    ] {
        let found = fs::metadata(tree.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!((found.mode(), found.uid(), found.gid()), (mode, owner, owner), "{path}");
    }
    assert_eq!(text("root/.ssh/authorized_keys"), format!("{KEY}\n"));
    let host_keys: Vec<_> = fs::read_dir(tree.join("etc/ssh"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("ssh_host_"))
        .collect();
    assert_eq!(host_keys, [""; 0]);
    let wanted = "etc/systemd/system";
    for link in [
        "multi-user.target.wants/ssh.service",
        "multi-user.target.wants/dibw-growroot.service",
        "multi-user.target.wants/dibw-ssh-host-keys.service",
        "getty.target.wants/serial-getty@ttyS0.service",
    ] {
        assert!(fs::symlink_metadata(tree.join(wanted).join(link)).is_ok(), "{link}");
    }
    assert!(text("boot/grub/grub.cfg").contains("console=ttyS0,115200"));
}

/// On a disk of twice the size: the name in the prompt of the serial line's getty, and a root that has grown.
fn boots(dibw: Dibw) {
    let image = dibw.dir().join("seven.qcow2");
    let resized = Command::new("qemu-img").arg("resize").arg(&image).arg("6G").output().unwrap();
    assert!(resized.status.success(), "{}", String::from_utf8_lossy(&resized.stderr));
    let dibw = dibw.again().args([
        "boot",
        "seven.qcow2",
        "--timeout",
        "420",
        "--show",
        "demo: ",
        "--show",
        "web7 ttyS0",
        "--expect",
        "web7 login:",
    ]);
    let said = dibw.succeed().stderr;
    let shown: Vec<&str> = said.lines().filter(|line| line.starts_with("demo: ")).collect();
    let [hostname, motd, users, growroot] = shown[..] else { panic!("{said}") };
    assert_eq!((hostname, motd), ("demo: hostname says web7", "demo: motd says Hello."));
    assert!(users.starts_with("demo: users says uid=") && users.contains("(demo)"), "{users}");
    let size = growroot.strip_prefix("demo: growroot says / has ").and_then(|size| size.strip_suffix('G'));
    let size: f64 = size.and_then(|size| size.parse().ok()).unwrap_or_else(|| panic!("{growroot}"));
    assert!((5.5..6.0).contains(&size), "{growroot}");
    assert!(said.contains("web7 ttyS0"), "{said}");
}
