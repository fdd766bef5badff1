//! `disk-image-get-kernel` on images with and without a table, raw and qcow2. Needs root, loop devices and mkfs.ext4.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

use dibw_image::qcow2::{Qcow2Options, write};
use dibw_image::table::mbr::{self, MbrPartition, MbrTable};
use dibw_sys::probe;
use dibw_tests::dibw::program;

const MIB: u64 = 1 << 20;

fn able(test: &str) -> bool {
    let able = probe::is_root() && probe::loop_control().is_ok();
    if !able {
        eprintln!("skipped: {test} (needs root and loop devices)");
    }
    able
}

/// A file system image made from files: path and content.
fn filesystem(directory: &Path, name: &str, files: &[(&str, &str)]) -> Vec<u8> {
    let tree = directory.join(format!("{name}.tree"));
    for (path, content) in files {
        let file = tree.join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        match content.strip_prefix("-> ") {
            Some(target) => std::os::unix::fs::symlink(target, &file).unwrap(),
            None => std::fs::write(&file, content).unwrap(),
        }
    }
    let image = directory.join(format!("{name}.ext4"));
    File::create(&image).unwrap().set_len(8 * MIB).unwrap();
    let mut mkfs = Command::new("mkfs.ext4");
    mkfs.args(["-q", "-F", "-O", "^has_journal", "-d"]).arg(&tree).arg(&image);
    let made = mkfs.output().unwrap();
    assert!(made.status.success(), "{made:?}");
    std::fs::read(&image).unwrap()
}

/// A disk of 32 MiB with these file systems as partitions.
fn disk(path: &Path, filesystems: &[Vec<u8>]) {
    use std::os::unix::fs::FileExt;
    let mut disk = File::options().read(true).write(true).create(true).truncate(true).open(path).unwrap();
    disk.set_len(32 * MIB).unwrap();
    let mut primaries = Vec::new();
    for (bytes, start) in filesystems.iter().zip((2048..).step_by(20_480)) {
        disk.write_all_at(bytes, start * 512).unwrap();
        let sectors = bytes.len() as u64 / 512;
        primaries.push(MbrPartition { bootable: false, kind: 0x83, start, sectors });
    }
    let table = MbrTable { disk_id: 7, sector_size: 512, disk_sectors: 65_536, primaries, extended: None };
    mbr::write(&mut disk, &table).unwrap();
}

fn get_kernel(directory: &Path, image: &str) -> Output {
    let mut command = Command::new(program());
    command.arg0("disk-image-get-kernel").args(["-d", "out", "-o", "k", "-i", image]);
    command.current_dir(directory).env_remove("DISTRO_NAME").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const DEBIAN: [(&str, &str); 5] = [
    ("etc/debian_version", "13.1\n"),
    ("boot/vmlinuz-6.1.0-9-amd64", "old kernel"),
    ("boot/initrd.img-6.1.0-9-amd64", "old ramdisk"),
    ("boot/vmlinuz-6.1.0-10-amd64", "new kernel"),
    ("boot/initrd.img-6.1.0-10-amd64", "new ramdisk"),
];

#[test]
fn kernel_and_ramdisk_come_out_of_every_kind_of_image() {
    if !able("kernel_and_ramdisk_come_out_of_every_kind_of_image") {
        return;
    }
    let scratch = tempfile::tempdir_in("/var/tmp").unwrap();
    let directory = scratch.path();
    std::fs::create_dir(directory.join("out")).unwrap();
    let whole = filesystem(directory, "whole", &DEBIAN);
    std::fs::write(directory.join("bare.raw"), &whole).unwrap();
    disk(&directory.join("disk.raw"), &[whole]);
    let root = filesystem(directory, "root", &[("etc/debian_version", "13\n"), ("boot/.keep", "")]);
    let files = DEBIAN.map(|(path, content)| (path.trim_start_matches("boot/"), content));
    let boot = filesystem(directory, "boot", &files[1..]);
    disk(&directory.join("split.raw"), &[boot, root]);
    let mut packed =
        File::options().read(true).write(true).create_new(true).open(directory.join("disk.qcow2")).unwrap();
    write(&File::open(directory.join("disk.raw")).unwrap(), &mut packed, &Qcow2Options::default()).unwrap();
    for image in ["bare.raw", "disk.raw", "split.raw", "disk.qcow2"] {
        let ran = get_kernel(directory, image);
        let out = directory.join("out");
        assert_eq!(
            (ran.status.code(), text(&ran.stderr), text(&ran.stdout)),
            (Some(0), String::new(), format!("{0}/k-vmlinuz\n{0}/k-initrd\n", out.display())),
            "{image}"
        );
        for (file, content) in [("k-vmlinuz", "new kernel"), ("k-initrd", "new ramdisk")] {
            assert_eq!(std::fs::read_to_string(out.join(file)).unwrap(), content, "{image}");
            std::fs::remove_file(out.join(file)).unwrap();
        }
        assert_eq!(std::fs::read_dir(&out).unwrap().count(), 0, "{image}");
    }
}

#[test]
fn what_is_no_image_or_has_no_kernel_is_told() {
    if !able("what_is_no_image_or_has_no_kernel_is_told") {
        return;
    }
    let scratch = tempfile::tempdir_in("/var/tmp").unwrap();
    let directory = scratch.path();
    std::fs::create_dir(directory.join("out")).unwrap();
    std::fs::write(directory.join("noise.raw"), vec![7; 1 << 20]).unwrap();
    let none = filesystem(directory, "none", &[("etc/debian_version", "13\n"), ("boot/vmlinuz-1", "k")]);
    std::fs::write(directory.join("none.raw"), none).unwrap();
    let unknown = filesystem(directory, "unknown", &[("etc/fstab", ""), ("boot/vmlinuz-1", "k")]);
    std::fs::write(directory.join("unknown.raw"), unknown).unwrap();
    let link = [("etc/debian_version", "13\n"), ("boot/vmlinuz-1", "-> /etc/passwd"), ("boot/initrd-1", "r")];
    std::fs::write(directory.join("link.raw"), filesystem(directory, "link", &link)).unwrap();
    for (image, expected) in [
        ("nowhere.raw", "error: image nowhere.raw: No such file or directory (os error 2)\n"),
        ("noise.raw", "error: image noise.raw: no file system in it can be mounted\n"),
        ("none.raw", "error: image none.raw: there is no kernel with an initial ramdisk in its /boot\n"),
        (
            "unknown.raw",
            "error: image unknown.raw: the operating system in it is not known, by its /etc\n  hint: ",
        ),
        ("link.raw", "error: /boot//etc/passwd does not lie in /boot\n"),
    ] {
        let ran = get_kernel(directory, image);
        assert_eq!(ran.status.code(), Some(1), "{image}");
        assert!(text(&ran.stderr).starts_with(expected), "{image}: {}", text(&ran.stderr));
        assert_eq!(std::fs::read_dir(directory.join("out")).unwrap().count(), 0, "{image}");
    }
}
