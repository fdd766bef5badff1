//! Real images of the shipped layouts: built from the Debian mirror, checked, and booted under QEMU to a login prompt.
//! Takes many minutes, so it runs with `./dev test --full` only.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use dibw_sys::loops::{Access, LoopDevice};
use dibw_sys::mkfs::{FsKind, fsck};

/// How long a boot under software emulation may take, in seconds.
const BOOT_TIMEOUT: &str = "420";

/// One image: name, arguments of the build, firmwares it must boot with.
type Case = (&'static str, &'static [&'static str], &'static [&'static [&'static str]]);

const IMAGES: [Case; 6] = [
    ("gpt", &["block-device-gpt"], &[&[]]),
    ("mbr", &["block-device-mbr"], &[&[]]),
    ("efi", &["block-device-efi"], &[&[], &["--uefi"]]),
    ("xfs", &["block-device-gpt", "--fs-type", "xfs"], &[&[]]),
    ("btrfs", &["block-device-gpt", "--fs-type", "btrfs"], &[&[]]),
    ("efi-xfs", &["block-device-efi", "--fs-type", "xfs"], &[&["--uefi"]]),
];

#[test]
fn every_layout_is_clean_and_boots_to_login() {
    if std::env::var_os("DIBW_TEST_FULL").is_none_or(|value| value.is_empty()) {
        println!("skipped: builds and boots six images (./dev test --full)");
        return;
    }
    let scratch = tempfile::tempdir_in("/var/tmp").unwrap();
    for (name, arguments, firmwares) in IMAGES {
        let image = build(scratch.path(), name, "bookworm", arguments);
        check(scratch.path(), name);
        for firmware in firmwares {
            boot(&image, firmware);
        }
    }
    boot(&build(scratch.path(), "trixie", "trixie", &["block-device-gpt"]), &[]);
}

fn build(scratch: &Path, name: &str, release: &str, arguments: &[&str]) -> PathBuf {
    let prefix = scratch.join(name);
    let mut dibw = dibw();
    dibw.args(["build", "-t", "qcow2,raw", "-o"]).arg(&prefix).args(["debian-minimal", "vm"]).args(arguments);
    succeed(dibw.env("DIB_RELEASE", release));
    prefix.with_extension("qcow2")
}

/// What the tools of each file system say of the image's partitions, and qemu-img of the qcow2.
fn check(scratch: &Path, name: &str) {
    let prefix = scratch.join(name);
    succeed(Command::new("qemu-img").arg("check").arg(prefix.with_extension("qcow2")));
    let raw = prefix.with_extension("raw");
    let file = File::options().read(true).write(true).open(&raw).unwrap();
    let text = std::fs::read_to_string(format!("{}.plan.json", prefix.display())).unwrap();
    let plan: dibw_plan::Plan = serde_json::from_str(&text).unwrap();
    let layout = &plan.disk.as_ref().unwrap().layout;
    let size = file.metadata().unwrap().len();
    let geometry = layout.images[0].resolve_geometry(size).unwrap().unwrap();
    for made in &layout.filesystems {
        let placed = geometry.partition(made.device.name()).unwrap();
        let device = LoopDevice::attach(&file, placed.start, placed.length, 512, Access::ReadWrite).unwrap();
        let kind: FsKind = made.fstype.parse().unwrap();
        fsck(kind, device.path()).unwrap_or_else(|error| panic!("{name}: {}: {error:#}", made.name));
        device.detach().unwrap();
    }
}

fn boot(image: &Path, firmware: &[&str]) {
    let mut dibw = dibw();
    dibw.arg("boot").arg(image).args(["--expect", "login:", "--timeout", BOOT_TIMEOUT]).args(firmware);
    succeed(&mut dibw);
}

fn dibw() -> Command {
    Command::new(std::env::var_os("DIBW_BIN").unwrap_or_else(|| {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/dibw").into_os_string()
    }))
}

/// Runs and shows what it said when it failed.
fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    println!("{command:?}: {}\n{said}", output.status);
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
}
