//! Owns the file system that a `strict` command outside the target sees: the machine's, read-only and as nobody in particular, with
//! empty private directories over what is the operator's own, and the target where the build has it.
//! Must not change the mounts of anybody else. Called by `inside_root`, as the mapped root with all capabilities, in a mount
//! namespace of its own.
//!
//! Files of the machine belong to `nobody` there: what is not for everybody can't be read. Files of the target and of what is
//! shown by name belong to root.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::CWD;
use rustix::mount::MountAttrFlags;

use crate::detached_mount::{Attributes, Depth, DetachedMount, attach_all, place, set_attributes};
use crate::minimal_dev::mount_dev;
use crate::sandbox::HostView;

/// Directories that are empty and private, with their modes: sockets of the machine's daemons, people's files, devices' settings.
const PRIVATE: [(&str, &str); 5] =
    [("/tmp", "1777"), ("/run", "755"), ("/home", "755"), ("/root", "700"), ("/sys", "755")];

const CAGED: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;

/// Mounts everything but `/proc`. `target` is where the target is mounted.
pub(crate) fn build(view: &HostView, target: &Path, userns: BorrowedFd<'_>, id_base: u32) -> Result<()> {
    // All clones are made while nothing is hidden and nothing is read-only yet.
    let mut shown = vec![(target.to_owned(), DetachedMount::clone_of(target, Depth::Recursive)?)];
    for (paths, read_only) in [(&view.readable, libc::MOUNT_ATTR_RDONLY), (&view.writable, 0)] {
        for (from, to) in paths {
            shown.push((to.clone(), mapped(from, CAGED | read_only, userns)?));
        }
    }
    // Outer ones first, so that an inner one ends up on top.
    shown.sort_by(|(left, _), (right, _)| left.cmp(right));

    let everything = Attributes { set: CAGED | libc::MOUNT_ATTR_RDONLY, ..Attributes::default() };
    set_attributes(CWD, "/", Depth::Recursive, everything).context("make the machine read-only")?;
    let hidden = view.hidden.iter().map(|path| (path.as_path(), "755"));
    for (path, mode) in PRIVATE.map(|(path, mode)| (Path::new(path), mode)).into_iter().chain(hidden) {
        if path.is_dir() {
            cover(path, mode)?;
        }
    }
    for (path, _) in &shown {
        while let Some(closed) = first_closed(path) {
            cover(&closed, "755")?;
        }
    }
    mount_dev(place("/dev".as_ref())?.as_fd(), id_base, &[])?;
    attach_all(shown)
}

/// A directory's size limit in the kernel's words: private directories are memory.
const TMP_SIZE: &str = "25%";

/// Mounts an empty directory over one.
fn cover(path: &Path, mode: &str) -> Result<()> {
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    DetachedMount::new("tmpfs", &[("mode", mode), ("size", TMP_SIZE)], attributes)?.attach_over(path)
}

/// The first directory on the way to `path` that others may not pass: nobody's eyes see nothing below it.
fn first_closed(path: &Path) -> Option<PathBuf> {
    let parent = path.parent()?;
    let mut ways: Vec<&Path> = parent.ancestors().collect();
    ways.reverse();
    let closed = |way: &&Path| fs::metadata(way).is_ok_and(|found| found.permissions().mode() & 0o001 == 0);
    ways.into_iter().find(closed).map(Path::to_owned)
}

fn mapped(path: &Path, set: u64, userns: BorrowedFd<'_>) -> Result<DetachedMount> {
    let clone = DetachedMount::clone_of(path, Depth::Recursive)?;
    let attributes = |idmap| Attributes { set, clear: 0, idmap };
    clone
        .change(Depth::Recursive, attributes(Some(userns)))
        .or_else(|_| clone.change(Depth::Recursive, attributes(None)))
        .with_context(|| format!("show {}", path.display()))?;
    Ok(clone)
}
