//! Copying whole trees, and measuring and removing them, with everything a tree can hold. Needs root.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use dibw_sys::copy_tree::{Copied, copy_tree};
use dibw_sys::loops::{Access, LoopDevice};
use dibw_sys::mkfs::{Format, FsKind, fsck, mkfs};
use dibw_sys::mounts::Mount;
use dibw_sys::tree_walk::tree_usage;
use dibw_sys::{probe, tool};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags, makedev};

const MIB: u64 = 1 << 20;

/// Says so when these tests cannot run.
fn can_run(test: &str) -> bool {
    let able = probe::is_root() && probe::loop_control().is_ok();
    if !able {
        eprintln!("SKIPPED {test}: needs root and loop devices");
    }
    able
}

/// Lets the copy go on.
fn go_on(_: &Copied) -> Result<()> {
    Ok(())
}

/// One entry as it must arrive: mode with kind, owner, group, device, size, mtime, link text or contents, attributes,
/// and the first path with the same inode.
type Entry = (u32, u32, u32, u64, u64, (i64, i64), Vec<u8>, Vec<(String, Vec<u8>)>, PathBuf);

fn look(root: &Path) -> Result<BTreeMap<PathBuf, Entry>> {
    let mut found = BTreeMap::new();
    let mut inodes = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let meta = std::fs::symlink_metadata(&path)?;
        let name = path.strip_prefix(root)?.to_owned();
        let kind = meta.file_type();
        let contents = match () {
            () if kind.is_file() => std::fs::read(&path)?,
            () if kind.is_symlink() => std::fs::read_link(&path)?.into_os_string().into_encoded_bytes(),
            () => Vec::new(),
        };
        if kind.is_dir() {
            let mut below: Vec<_> =
                std::fs::read_dir(&path)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
            // Reversed, so that a hard link's first name in sorted order is met first.
            below.sort();
            todo.extend(below.into_iter().rev());
        }
        let first = inodes.entry((meta.dev(), meta.ino())).or_insert(name.clone()).clone();
        let size = if kind.is_dir() { 0 } else { meta.len() };
        let time = (meta.mtime(), meta.mtime_nsec());
        let attributes = attributes(&path)?;
        let (mode, uid, gid, rdev) = (meta.mode(), meta.uid(), meta.gid(), meta.rdev());
        found.insert(name, (mode, uid, gid, rdev, size, time, contents, attributes, first));
    }
    Ok(found)
}

fn attributes(path: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let (mut list, mut value) = (vec![0; 65536], vec![0; 65536]);
    let length = rustix::fs::llistxattr(path, &mut list[..])?;
    let names = list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let mut found = Vec::new();
    for name in names {
        let size = rustix::fs::lgetxattr(path, name, &mut value[..])?;
        found.push((String::from_utf8(name.to_vec())?, value[..size].to_vec()));
    }
    found.sort();
    Ok(found)
}

/// A tree with one of each.
fn make(root: &Path) -> Result<()> {
    let own = |path: &Path, uid, gid| {
        rustix::fs::chownat(
            CWD,
            path,
            Some(Uid::from_raw(uid)),
            Some(Gid::from_raw(gid)),
            AtFlags::SYMLINK_NOFOLLOW,
        )
    };
    std::fs::create_dir_all(root.join("usr/bin"))?;
    std::fs::create_dir(root.join("tmp"))?;
    std::fs::create_dir(root.join("proc"))?;
    std::fs::write(root.join("proc/1"), "left out")?;
    std::fs::write(root.join(".dotfile"), "hidden")?;
    std::fs::write(root.join("empty"), "")?;
    std::fs::write(root.join("large"), (0..3 * MIB).map(|at| at as u8).collect::<Vec<_>>())?;
    std::fs::write(root.join("usr/bin/ping"), "program")?;
    std::fs::write(root.join("usr/bin/su"), "setuid program")?;
    std::fs::write(root.join("usr/name with\nnewline"), "odd")?;
    std::fs::hard_link(root.join("usr/bin/su"), root.join("another-su"))?;
    symlink("/etc/passwd", root.join("absolute"))?;
    symlink("does-not-exist", root.join("usr/dangling"))?;
    let sparse = File::create(root.join("sparse"))?;
    sparse.set_len(64 * MIB)?;
    sparse.write_all_at(b"middle", 32 * MIB)?;
    let mode = Mode::from_raw_mode(0o620);
    rustix::fs::mknodat(CWD, root.join("null"), FileType::CharacterDevice, mode, makedev(1, 3))?;
    rustix::fs::mknodat(CWD, root.join("disk"), FileType::BlockDevice, mode, makedev(253, 70_000))?;
    rustix::fs::mkfifoat(CWD, root.join("fifo"), mode)?;
    drop(UnixListener::bind(root.join("socket"))?);
    for path in ["usr/bin/ping", "usr/bin/su", "absolute", "fifo", "usr"] {
        own(&root.join(path), 1234, 5678)?;
    }
    // cap_net_raw=ep, revision 2 (linux/capability.h): must come back after the owner is set.
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    rustix::fs::lsetxattr(
        root.join("usr/bin/ping"),
        "security.capability",
        &capability,
        XattrFlags::empty(),
    )?;
    for path in [".dotfile", "usr", ""] {
        rustix::fs::lsetxattr(root.join(path), "user.note", b"note", XattrFlags::empty())?;
    }
    rustix::fs::lsetxattr(root.join("absolute"), "trusted.note", b"on a link", XattrFlags::empty())?;
    for (path, mode) in
        [("usr/bin/su", 0o4755), ("tmp", 0o1777), ("usr", 0o2750), (".dotfile", 0), ("", 0o751)]
    {
        std::fs::set_permissions(root.join(path), std::fs::Permissions::from_mode(mode))?;
    }
    let times = |second| {
        let time = Timespec { tv_sec: second, tv_nsec: 123_456_789 };
        Timestamps { last_access: time, last_modification: time }
    };
    for (second, path) in
        (1_500_000_000..).zip(["absolute", "null", "fifo", ".dotfile", "usr/bin", "usr", "tmp", ""])
    {
        rustix::fs::utimensat(CWD, root.join(path), &times(second), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

#[test]
fn everything_arrives_on_every_file_system() -> Result<()> {
    if !can_run("everything_arrives_on_every_file_system") {
        return Ok(());
    }
    let source = tempfile::tempdir_in("/tmp")?;
    make(source.path())?;
    let mut expected = look(source.path())?;
    expected.remove(Path::new("socket"));
    expected.remove(Path::new("proc/1"));
    for kind in [FsKind::Ext4, FsKind::Xfs, FsKind::Btrfs] {
        let file = tempfile::tempfile_in("/tmp")?;
        file.set_len(310 * MIB)?;
        let device = LoopDevice::attach(&file, 0, 0, 512, Access::ReadWrite)?;
        mkfs(device.path(), &Format { kind, label: None, uuid: None, options: &[], epoch: None })?;
        let dir = tempfile::tempdir_in("/tmp")?;
        let mount = Mount::new(device.path(), dir.path(), kind.name(), "")?;
        let copied = copy_tree(source.path(), dir.path(), &[Path::new("/proc")], &mut go_on)?;
        let mut arrived = look(dir.path())?;
        arrived.retain(|path, _| !path.starts_with("lost+found"));
        for (path, entry) in &expected {
            assert!(arrived.get(path) == Some(entry), "{kind} {}", path.display());
        }
        assert_eq!(arrived.len(), expected.len(), "{kind}");
        let blocks = std::fs::metadata(dir.path().join("sparse"))?.blocks();
        assert!(blocks * 512 < MIB, "{kind}: the sparse file takes {blocks} blocks");
        assert_eq!((copied.entries, copied.sockets), (expected.len() as u64 - 1, 1));
        mount.unmount()?;
        fsck(kind, device.path())?;
        device.detach()?;
    }
    Ok(())
}

#[test]
fn an_overlay_is_copied_as_its_merged_view() -> Result<()> {
    if !can_run("an_overlay_is_copied_as_its_merged_view") {
        return Ok(());
    }
    let dir = tempfile::tempdir_in("/tmp")?;
    let at = |name: &str| dir.path().join(name);
    for name in ["lower", "upper", "work", "merged", "copy"] {
        std::fs::create_dir(at(name))?;
    }
    make(&at("lower"))?;
    let layers = ["lower", "upper", "work"].map(|name| format!("{name}dir={}", at(name).display())).join(",");
    let mount = Mount::new(Path::new("overlay"), &at("merged"), "overlay", &layers)?;
    std::fs::remove_file(at("merged/empty"))?;
    std::fs::remove_dir_all(at("merged/proc"))?;
    std::fs::create_dir(at("merged/proc"))?;
    std::fs::write(at("merged/usr/bin/new"), "new")?;
    let bound = Mount::bind(&at("lower"), &at("merged/proc"), Access::ReadOnly)?;
    let copied = copy_tree(&at("merged"), &at("copy"), &[], &mut go_on)?;
    bound.unmount()?;
    let mut expected = look(&at("merged"))?;
    expected.remove(Path::new("socket"));
    let arrived = look(&at("copy"))?;
    for (path, entry) in &expected {
        // The mount point's time was not worth keeping; everything else is.
        if path != Path::new("proc") {
            assert!(arrived.get(path) == Some(entry), "{}", path.display());
        }
    }
    assert_eq!(arrived.len(), expected.len());
    assert_eq!(copied.mount_points, [PathBuf::from("/proc")]);
    mount.unmount()
}

#[test]
fn a_full_file_system_says_how_much_is_needed() -> Result<()> {
    if !can_run("a_full_file_system_says_how_much_is_needed") {
        return Ok(());
    }
    let (source, to) = (tempfile::tempdir_in("/tmp")?, tempfile::tempdir_in("/tmp")?);
    std::fs::write(source.path().join("a"), vec![1; MIB as usize])?;
    std::fs::create_dir(source.path().join("b"))?;
    std::fs::write(source.path().join("b/file"), vec![1; 4 * MIB as usize])?;
    let needed = tree_usage(source.path())?;
    for (options, expected) in [
        (
            "size=2m",
            format!(
                "no space left at /b/file: the tree needs {} bytes, the file system has 2097152 bytes in all",
                needed.bytes
            ),
        ),
        (
            "nr_inodes=3",
            "no inodes left at /b/file: the tree has 4 entries, the file system 3 inodes".to_owned(),
        ),
    ] {
        let mount = Mount::new(Path::new("tmpfs"), to.path(), "tmpfs", options)?;
        let error = copy_tree(source.path(), to.path(), &[], &mut go_on).unwrap_err();
        let what = format!("copying {} to {}", source.path().display(), to.path().display());
        assert_eq!(
            format!("{error:#}"),
            format!("{what}: {expected}: /b/file: No space left on device (os error 28)")
        );
        mount.unmount()?;
    }
    Ok(())
}

#[test]
fn progress_can_end_a_copy() -> Result<()> {
    let (source, to) = (tempfile::tempdir()?, tempfile::tempdir()?);
    for name in ["a", "b", "c"] {
        std::fs::write(source.path().join(name), name)?;
    }
    let mut stop = |copied: &Copied| {
        anyhow::ensure!(copied.entries < 2, "interrupted");
        Ok(())
    };
    let error = copy_tree(source.path(), to.path(), &[], &mut stop).unwrap_err();
    assert_eq!(error.root_cause().to_string(), "interrupted");
    assert!(to.path().join("b").exists() && !to.path().join("c").exists());
    Ok(())
}

#[test]
fn usage_is_what_du_says() -> Result<()> {
    if !can_run("usage_is_what_du_says") {
        return Ok(());
    }
    let source = tempfile::tempdir_in("/tmp")?;
    make(source.path())?;
    for root in [source.path(), Path::new("/usr/lib/python3"), Path::new("/etc")] {
        if !root.exists() {
            continue;
        }
        let du = |options: &[&str]| -> Result<u64> {
            let words = options.iter().map(|word| Path::new(word).as_os_str()).chain([root.as_os_str()]);
            let text = String::from_utf8(tool::run("du", words)?.stdout)?;
            Ok(text.split('\t').next().context("du prints a number")?.parse()?)
        };
        let usage = tree_usage(root)?;
        assert_eq!(usage.kib(), du(&["-s", "-x", "-k"])?, "{}", root.display());
        assert_eq!(usage.inodes, du(&["-s", "-x", "--inodes"])?, "{}", root.display());
    }
    Ok(())
}
