//! Loops, file systems, mounts and vfat of dibw-sys against the real kernel. Needs root and loop devices.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use dibw_sys::loops::{Access, LoopDevice};
use dibw_sys::mkfs::{Format, FsKind, fsck, mkfs};
use dibw_sys::mounts::{Mount, fstrim, mounted_below, syncfs};
use dibw_sys::{probe, vfat};

const MIB: u64 = 1 << 20;
const UUID: &str = "01234567-89ab-4def-8123-456789abcdef";
/// mkfs.btrfs refuses a uuid that any other block device has, so tests that make btrfs side by side have their own.
const LABEL_UUID: &str = "01234567-89ab-4def-8123-fedcba987654";

/// Says so when these tests cannot run.
fn can_run(test: &str) -> bool {
    let able = probe::is_root() && probe::loop_control().is_ok();
    if !able {
        eprintln!("SKIPPED {test}: needs root and loop devices");
    }
    able
}

fn image(bytes: u64) -> Result<File> {
    let file = tempfile::tempfile_in("/tmp")?;
    file.set_len(bytes)?;
    Ok(file)
}

fn attached(device: &Path) -> bool {
    let name = device.file_name().unwrap_or_default();
    Path::new("/sys/block").join(name).join("loop/backing_file").exists()
}

fn format(kind: FsKind, options: &[String]) -> Format<'_> {
    Format { kind, label: Some("LABEL"), uuid: Some(UUID), options, epoch: Some(1_700_000_000) }
}

#[test]
fn a_loop_is_a_window_of_an_unlinked_file() -> Result<()> {
    if !can_run("a_loop_is_a_window_of_an_unlinked_file") {
        return Ok(());
    }
    for sector in [512, 4096] {
        let file = image(4 * MIB)?;
        let device = LoopDevice::attach(&file, MIB, 2 * MIB, sector, Access::ReadWrite)?;
        let opened = File::options().read(true).write(true).open(device.path())?;
        assert_eq!(rustix::fs::seek(&opened, rustix::fs::SeekFrom::End(0))?, 2 * MIB);
        assert_eq!(rustix::fs::ioctl_blksszget(&opened)?, sector);
        opened.write_all_at(b"first", 0)?;
        opened.write_all_at(b"last", 2 * MIB - 4)?;
        assert!(opened.write_all_at(b"beyond", 2 * MIB).is_err());
        drop(opened);
        let path = device.path().to_owned();
        assert!(attached(&path));
        device.detach()?;
        assert!(!attached(&path), "detach returned before the device was free");
        let mut bytes = vec![0; 4 * MIB as usize];
        file.read_exact_at(&mut bytes, 0)?;
        let mut expected = vec![0; 4 * MIB as usize];
        expected[MIB as usize..][..5].copy_from_slice(b"first");
        expected[3 * MIB as usize - 4..][..4].copy_from_slice(b"last");
        assert!(bytes == expected);
    }
    Ok(())
}

#[test]
fn windows_that_make_no_sense_are_refused() -> Result<()> {
    if !can_run("windows_that_make_no_sense_are_refused") {
        return Ok(());
    }
    let file = image(4 * MIB)?;
    for (offset, size, sector, message) in [
        (100, MIB, 512, "loop device: offset 100 and size 1048576 must be multiples of the sector size 512"),
        (
            512,
            MIB,
            4096,
            "loop device: offset 512 and size 1048576 must be multiples of the sector size 4096",
        ),
        (0, MIB, 1024, "loop device: sectors of 1024 bytes (512 or 4096 are possible)"),
        (
            MIB,
            4 * MIB,
            512,
            "loop device: bytes 1048576+4194304 lie outside the backing file of 4194304 bytes",
        ),
        (4 * MIB, 0, 512, "loop device: bytes 4194304+0 lie outside the backing file of 4194304 bytes"),
        (
            u64::MAX - 511,
            512,
            512,
            "loop device: bytes 18446744073709551104+512 lie outside the backing file of 4194304 bytes",
        ),
    ] {
        let error = LoopDevice::attach(&file, offset, size, sector, Access::ReadWrite).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
    let named = tempfile::NamedTempFile::new_in("/tmp")?;
    named.as_file().set_len(MIB)?;
    let read_only = File::open(named.path())?;
    let error = LoopDevice::attach(&read_only, 0, 0, 512, Access::ReadWrite).unwrap_err();
    assert_eq!(error.to_string(), "loop device: the backing file is not open for reading and writing");
    let device = LoopDevice::attach(&read_only, 0, 0, 512, Access::ReadOnly)?;
    assert!(
        File::options().write(true).open(device.path()).and_then(|file| file.write_all_at(b"x", 0)).is_err()
    );
    device.detach()
}

#[test]
fn a_dropped_loop_detaches_itself() -> Result<()> {
    if !can_run("a_dropped_loop_detaches_itself") {
        return Ok(());
    }
    let file = image(MIB)?;
    let device = LoopDevice::attach(&file, 0, 0, 512, Access::ReadWrite)?;
    let path = device.path().to_owned();
    drop(device);
    // The last close clears the device before it returns; another test may hold it open for a moment to look at it.
    let free = (0..1000).any(|_| {
        std::thread::yield_now();
        !attached(&path) || backing_is_other(&path, &file)
    });
    assert!(free, "{} is still attached", path.display());
    Ok(())
}

/// Whether the device was taken by another test meanwhile; ours is an unlinked file with its own inode.
fn backing_is_other(device: &Path, file: &File) -> bool {
    let name = device.file_name().unwrap_or_default();
    let shown = std::fs::read_to_string(Path::new("/sys/block").join(name).join("loop/backing_file"));
    let ours = std::fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file)));
    shown.unwrap_or_default().trim_end() != ours.unwrap_or_default().to_string_lossy()
}

#[test]
fn many_loops_at_once_race_for_numbers() -> Result<()> {
    if !can_run("many_loops_at_once_race_for_numbers") {
        return Ok(());
    }
    let file = image(16 * MIB)?;
    let barrier = std::sync::Barrier::new(8);
    let paths: Vec<PathBuf> = std::thread::scope(|scope| {
        let attach = |index: u64| {
            barrier.wait();
            let device = LoopDevice::attach(&file, index * MIB, MIB, 512, Access::ReadWrite)?;
            barrier.wait();
            let path = device.path().to_owned();
            device.detach()?;
            Ok(path)
        };
        let threads: Vec<_> = (0..8).map(|index| scope.spawn(move || attach(index))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Result<_>>()
    })?;
    assert_eq!(paths.iter().collect::<BTreeSet<_>>().len(), 8, "{paths:?}");
    Ok(())
}

#[test]
fn every_file_system_is_made_checked_mounted_and_repeatable() -> Result<()> {
    if !can_run("every_file_system_is_made_checked_mounted_and_repeatable") {
        return Ok(());
    }
    let dir = tempfile::tempdir_in("/tmp")?;
    for sector in [512, 4096] {
        for kind in FsKind::ALL {
            let file = image(320 * MIB)?;
            let device = LoopDevice::attach(&file, MIB, 310 * MIB, sector, Access::ReadWrite)?;
            // libblkid remembers for minutes what a device was that is gone.
            let now = std::time::UNIX_EPOCH.elapsed()?.as_nanos().to_le_bytes();
            let uuid = dibw_plan::layout::derive_uuid(&now, "test");
            mkfs(device.path(), &Format { uuid: Some(&uuid), ..format(kind, &[]) })?;
            fsck(kind, device.path())?;
            if kind == FsKind::Swap || probe::filesystem(kind.name()).is_err() {
                eprintln!("not mounted, the kernel has no driver: {kind}");
                device.detach()?;
                continue;
            }
            let mount = Mount::new(device.path(), dir.path(), kind.name(), "noatime")?;
            std::fs::write(dir.path().join("junk"), vec![1; 8 * MIB as usize])?;
            syncfs(dir.path())?;
            std::fs::remove_file(dir.path().join("junk"))?;
            std::fs::write(dir.path().join("kept"), "kept")?;
            syncfs(dir.path())?;
            assert!(fstrim(dir.path())? > 0, "{kind} was not trimmed");
            mount.unmount()?;
            fsck(kind, device.path())?;
            let mount = Mount::new(device.path(), dir.path(), kind.name(), "ro")?;
            assert_eq!(std::fs::read_to_string(dir.path().join("kept"))?, "kept");
            mount.unmount()?;
            device.detach()?;
            assert_eq!(mounted_below(dir.path())?, Vec::<PathBuf>::new());
        }
    }
    Ok(())
}

#[test]
fn equal_requests_make_equal_bytes_where_the_tool_allows() -> Result<()> {
    if !can_run("equal_requests_make_equal_bytes_where_the_tool_allows") {
        return Ok(());
    }
    for kind in [FsKind::Ext2, FsKind::Ext4, FsKind::Vfat, FsKind::Swap] {
        let mut made = Vec::new();
        for _ in 0..2 {
            let file = image(16 * MIB)?;
            let device = LoopDevice::attach(&file, 0, 0, 512, Access::ReadWrite)?;
            mkfs(device.path(), &format(kind, &[]))?;
            device.detach()?;
            let mut bytes = vec![0; 16 * MIB as usize];
            file.read_exact_at(&mut bytes, 0)?;
            made.push(bytes);
        }
        assert!(made[0] == made[1], "{kind} differs");
    }
    Ok(())
}

#[test]
fn labels_and_uuids_are_what_was_asked_for() -> Result<()> {
    if !can_run("labels_and_uuids_are_what_was_asked_for") {
        return Ok(());
    }
    for (kind, uuid) in [
        (FsKind::Ext4, LABEL_UUID),
        (FsKind::Xfs, LABEL_UUID),
        (FsKind::Btrfs, LABEL_UUID),
        (FsKind::Vfat, "0123-4567"),
        (FsKind::Swap, LABEL_UUID),
    ] {
        let file = image(310 * MIB)?;
        let device = LoopDevice::attach(&file, 0, 0, 512, Access::ReadWrite)?;
        mkfs(device.path(), &Format { uuid: Some(LABEL_UUID), ..format(kind, &[]) })?;
        let words = ["-p", "-o", "value", "-s", "UUID", "-s", "LABEL"].map(Into::into).into_iter();
        let output = dibw_sys::tool::run("blkid", words.chain([device.path().as_os_str().to_owned()]))?;
        let values: BTreeSet<String> = String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect();
        assert_eq!(values, BTreeSet::from(["LABEL".to_owned(), uuid.to_owned()]), "{kind}");
        device.detach()?;
    }
    Ok(())
}

#[test]
fn what_the_host_remembers_of_a_loop_device_does_not_count() -> Result<()> {
    if !can_run("what_the_host_remembers_of_a_loop_device_does_not_count") {
        return Ok(());
    }
    let uuid = "11111111-89ab-4def-8123-fedcba987654";
    for _ in 0..2 {
        let file = image(310 * MIB)?;
        let device = LoopDevice::attach(&file, 0, 0, 512, Access::ReadWrite)?;
        mkfs(device.path(), &Format { uuid: Some(uuid), ..format(FsKind::Btrfs, &[]) })?;
        // Writes the host's cache, which is believed for some seconds.
        dibw_sys::tool::run("blkid", [device.path()])?;
        device.detach()?;
    }
    Ok(())
}

#[test]
fn a_small_xfs_says_what_it_needs() -> Result<()> {
    if !can_run("a_small_xfs_says_what_it_needs") {
        return Ok(());
    }
    let file = image(100 * MIB)?;
    let device = LoopDevice::attach(&file, 0, 0, 512, Access::ReadWrite)?;
    let error = format!("{:#}", mkfs(device.path(), &format(FsKind::Xfs, &[])).unwrap_err());
    let start = "making xfs (since xfsprogs 5.19 it needs at least 300 MiB): mkfs.xfs -L LABEL -m ";
    assert!(error.starts_with(start), "{error}");
    assert!(error.contains("\n  Filesystem must be larger than 300MB.\n"), "{error}");
    device.detach()
}

#[test]
fn what_holds_a_mount_or_a_loop_is_named() -> Result<()> {
    if !can_run("what_holds_a_mount_or_a_loop_is_named") {
        return Ok(());
    }
    let dir = tempfile::tempdir_in("/tmp")?;
    let file = image(16 * MIB)?;
    let device = LoopDevice::attach(&file, 0, 0, 512, Access::ReadWrite)?;
    mkfs(device.path(), &format(FsKind::Ext4, &[]))?;
    let mount = Mount::new(device.path(), dir.path(), "ext4", "")?;
    let path = device.path().display().to_string();
    let mut holder = Command::new("cat").current_dir(dir.path()).stdin(Stdio::piped()).spawn()?;
    let error = format!("{:#}", mount.unmount().unwrap_err());
    let expected = format!("unmounting {}: busy, held by cat ({}): cwd", dir.path().display(), holder.id());
    let error_of_loop = format!("{:#}", device.detach().unwrap_err());
    drop(holder.stdin.take());
    holder.wait()?;
    dibw_sys::mounts::unmount(dir.path())?;
    assert_eq!(error, expected);
    let expected =
        format!("{path}: still attached after 10 s, held by the mount at {}", dir.path().display());
    assert_eq!(error_of_loop, expected);
    Ok(())
}

#[test]
fn unmount_waits_for_the_last_user() -> Result<()> {
    if !can_run("unmount_waits_for_the_last_user") {
        return Ok(());
    }
    let dir = tempfile::tempdir_in("/tmp")?;
    let mount = Mount::new(Path::new("tmpfs"), dir.path(), "tmpfs", "size=1m")?;
    let mut holder = Command::new("sleep").arg("0.3").current_dir(dir.path()).spawn()?;
    mount.unmount()?;
    assert!(holder.wait()?.success());
    Ok(())
}

#[test]
fn a_disk_that_fills_up_below_a_sparse_image_is_noticed() -> Result<()> {
    if !can_run("a_disk_that_fills_up_below_a_sparse_image_is_noticed") {
        return Ok(());
    }
    let (small, dir) = (tempfile::tempdir_in("/tmp")?, tempfile::tempdir_in("/tmp")?);
    for kind in [FsKind::Ext4, FsKind::Xfs, FsKind::Btrfs] {
        let disk = Mount::new(Path::new("tmpfs"), small.path(), "tmpfs", "size=128m")?;
        let file = tempfile::tempfile_in(small.path())?;
        file.set_len(320 * MIB)?;
        let device = LoopDevice::attach(&file, 0, 0, 512, Access::ReadWrite)?;
        mkfs(device.path(), &Format { uuid: None, ..format(kind, &[]) })?;
        let mount = Mount::new(device.path(), dir.path(), kind.name(), "")?;
        // Noticed at the latest when everything is written, since the file system believes that it has the space.
        let written =
            std::fs::write(dir.path().join("file"), vec![1; 200 * MIB as usize]).map_err(Into::into);
        let noticed = written.and_then(|()| syncfs(dir.path())).is_err();
        mount.unmount()?;
        // Whether the last flush fails too differs between file systems; the device must be gone in any case.
        let path = device.path().to_owned();
        if let Err(error) = device.detach() {
            eprintln!("{kind}: {error:#}");
        }
        assert!(
            !attached(&path) || backing_is_other(&path, &file),
            "{kind}: {} is still attached",
            path.display()
        );
        drop(file);
        disk.unmount()?;
        assert!(noticed, "{kind}: nobody noticed that the data is lost");
    }
    Ok(())
}

#[test]
fn a_read_only_bind_cannot_be_written() -> Result<()> {
    if !can_run("a_read_only_bind_cannot_be_written") {
        return Ok(());
    }
    let (from, to) = (tempfile::tempdir_in("/tmp")?, tempfile::tempdir_in("/tmp")?);
    let mount = Mount::bind(from.path(), to.path(), Access::ReadOnly)?;
    let written = std::fs::write(to.path().join("file"), "x");
    mount.unmount()?;
    assert_eq!(written.unwrap_err().kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    let error = Mount::new(Path::new("none"), to.path(), "no-such-fs", "ro").unwrap_err();
    let dir = to.path().display();
    assert_eq!(
        error.to_string(),
        format!("mounting none (no-such-fs, `ro`) on {dir}: this kernel has no no-such-fs")
    );
    Ok(())
}

/// A staging tree as an EFI system partition has it, and awkward names.
fn staging() -> Result<tempfile::TempDir> {
    let dir = tempfile::tempdir_in("/tmp")?;
    for (path, contents) in [
        ("EFI/BOOT/BOOTX64.EFI", "loader"),
        ("EFI/debian/grub.cfg", "search\n"),
        ("EFI/debian/A rather long name, with spaces.conf", "long"),
        ("b[r]acket/x^y", "quoted"),
        ("grün und lang.txt", "ü"),
        (".hidden", ""),
    ] {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().context("parent")?)?;
        std::fs::write(&path, contents)?;
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000);
        File::options().write(true).open(&path)?.set_modified(time)?;
        for directory in path.ancestors().skip(1).take_while(|above| above.starts_with(dir.path())) {
            File::open(directory)?.set_modified(time)?;
        }
    }
    Ok(dir)
}

#[test]
fn vfat_is_filled_without_a_driver() -> Result<()> {
    if !can_run("vfat_is_filled_without_a_driver") {
        return Ok(());
    }
    let staging = staging()?;
    let mut images = Vec::new();
    for sector in [512, 4096, 512] {
        let file = image(64 * MIB)?;
        let device = LoopDevice::attach(&file, 0, 0, sector, Access::ReadWrite)?;
        mkfs(device.path(), &format(FsKind::Vfat, &[]))?;
        vfat::fill(device.path(), staging.path())?;
        fsck(FsKind::Vfat, device.path())?;
        let expected = [
            "/.hidden",
            "/EFI/",
            "/EFI/BOOT/",
            "/EFI/BOOT/BOOTX64.EFI",
            "/EFI/debian/",
            "/EFI/debian/A rather long name, with spaces.conf",
            "/EFI/debian/grub.cfg",
            "/b[r]acket/",
            "/b[r]acket/x^y",
            "/grün und lang.txt",
        ];
        assert_eq!(vfat::list(device.path())?, expected);
        assert_eq!(vfat::read(device.path(), "/EFI/BOOT/BOOTX64.EFI")?, b"loader");
        assert_eq!(vfat::read(device.path(), "/b[r]acket/x^y")?, b"quoted");
        assert!(vfat::read(device.path(), "/none").is_err());
        device.detach()?;
        let mut bytes = vec![0; 64 * MIB as usize];
        file.read_exact_at(&mut bytes, 0)?;
        images.push(bytes);
    }
    assert!(images[0] == images[2], "the same staging tree gave two different file systems");
    Ok(())
}

#[test]
fn vfat_refuses_what_it_cannot_hold() -> Result<()> {
    if !can_run("vfat_refuses_what_it_cannot_hold") {
        return Ok(());
    }
    type Make = fn(&Path) -> std::io::Result<()>;
    let cases: [(Make, &str); 5] = [
        (
            |dir| std::os::unix::fs::symlink("x", dir.join("link")),
            "DIR/link: vfat cannot hold a symbolic link",
        ),
        (
            |dir| Ok(rustix::fs::mkfifoat(rustix::fs::CWD, dir.join("pipe"), rustix::fs::Mode::RUSR)?),
            "DIR/pipe: vfat cannot hold a fifo",
        ),
        (|dir| std::fs::write(dir.join("a:b"), ""), "DIR/a:b: vfat names cannot have the character ':'"),
        (
            |dir| std::fs::write(dir.join("A"), "").and(std::fs::write(dir.join("a"), "")),
            "DIR: `A` and `a` are one name to vfat",
        ),
        (
            |dir| File::create(dir.join("big"))?.set_len(1 << 32),
            "DIR/big: 4294967296 bytes, vfat holds 4 GiB - 1",
        ),
    ];
    for (make, expected) in cases {
        let dir = tempfile::tempdir_in("/tmp")?;
        make(dir.path())?;
        let error = vfat::fill(Path::new("/dev/null"), dir.path()).unwrap_err();
        assert_eq!(format!("{error:#}"), expected.replace("DIR", &dir.path().display().to_string()));
    }
    let dir = tempfile::tempdir_in("/tmp")?;
    std::fs::write(dir.path().join("big"), vec![1; 8 * MIB as usize])?;
    let file = image(4 * MIB)?;
    let device = LoopDevice::attach(&file, 0, 0, 512, Access::ReadWrite)?;
    mkfs(device.path(), &format(FsKind::Vfat, &[]))?;
    let error = format!("{:#}", vfat::fill(device.path(), dir.path()).unwrap_err());
    assert!(error.contains("Disk full"), "{error}");
    device.detach()
}
