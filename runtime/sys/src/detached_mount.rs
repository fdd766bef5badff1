//! Owns the mounts that are made in the air and put in place by descriptor, so that no path of a hostile tree is ever
//! resolved for a mount, and their attributes (read-only, nosuid, id mapping).
//! Must not decide what is mounted where. Called by `inside_root`, `outside_root`, `minimal_dev` and `target_trees`.
#![expect(unsafe_code, reason = "mount_setattr has no safe wrapper")]

use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{CWD, Mode, OFlags, open};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

/// How far a clone or a change of attributes goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// This mount only.
    Single,
    /// All mounts below it too.
    Recursive,
}

/// A change of mount attributes, all at once.
#[derive(Clone, Copy, Default)]
pub(crate) struct Attributes<'a> {
    /// `MOUNT_ATTR_*` to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub clear: u64,
    /// Shift ownership by this user namespace's map.
    pub idmap: Option<BorrowedFd<'a>>,
}

/// A mount that may not be attached anywhere (yet); detached again, unless attached, when dropped.
pub(crate) struct DetachedMount(OwnedFd);

impl DetachedMount {
    /// A copy of what is mounted at (or around) `path`. A symbolic link at the end is followed.
    pub fn clone_of(path: &Path, depth: Depth) -> Result<Self> {
        let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        if depth == Depth::Recursive {
            flags |= OpenTreeFlags::AT_RECURSIVE;
        }
        let tree =
            open_tree(CWD, path, flags).with_context(|| format!("clone the mount of {}", path.display()))?;
        Ok(Self(tree))
    }

    /// A copy of what is mounted around the open directory, with that directory as its root.
    pub fn clone_at(directory: BorrowedFd<'_>) -> Result<Self> {
        let flags =
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
        open_tree(directory, "", flags).map(Self).context("clone the mount of a directory")
    }

    /// The mount as a descriptor of its root; detached when the last descriptor on it is closed.
    pub fn into_root(self) -> OwnedFd {
        self.0
    }

    /// A new file system of the kernel's own kind (`tmpfs`, `proc`, `sysfs`, `devpts`).
    pub fn new(kind: &str, options: &[(&str, &str)], attributes: MountAttrFlags) -> Result<Self> {
        let make = || {
            let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
            for (key, value) in options {
                fsconfig_set_string(context.as_fd(), *key, *value)?;
            }
            fsconfig_create(context.as_fd())?;
            fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        };
        make().map(Self).with_context(|| format!("make a {kind} {options:?}"))
    }

    /// The root of the mount.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Changes attributes of the mount.
    pub fn change(&self, depth: Depth, attributes: Attributes<'_>) -> Result<()> {
        set_attributes(self.root(), "", depth, attributes).context("set mount attributes")
    }

    /// Puts the mount over what `place` is open on: a directory over a directory, a file over anything else.
    pub fn attach(&self, place: BorrowedFd<'_>) -> Result<(), Errno> {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        move_mount(self.root(), "", place, "", flags)
    }

    /// The same over a path of a trusted tree.
    pub fn attach_over(&self, path: &Path) -> Result<()> {
        self.attach(place(path)?.as_fd()).with_context(|| format!("mount {}", path.display()))
    }
}

/// Puts mounts over paths of a trusted tree, in their order; directories that are missing are made.
pub(crate) fn attach_all(mounts: Vec<(PathBuf, DetachedMount)>) -> Result<()> {
    for (path, mount) in mounts {
        // What lies over its parent may show no mounts.
        if !path.exists() {
            fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
        }
        mount.attach_over(&path)?;
    }
    Ok(())
}

/// A path of a trusted tree, to mount over; a symbolic link at the end is followed.
pub(crate) fn place(path: &Path) -> Result<OwnedFd> {
    open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .with_context(|| format!("open {}", path.display()))
}

/// `mount_setattr(2)` on `path` below `dir`, or on `dir` itself when `path` is empty.
pub(crate) fn set_attributes(
    dir: BorrowedFd<'_>,
    path: &str,
    depth: Depth,
    attributes: Attributes<'_>,
) -> Result<(), Errno> {
    let path = std::ffi::CString::new(path).map_err(|_| Errno::INVAL)?;
    let idmap = if attributes.idmap.is_some() { libc::MOUNT_ATTR_IDMAP } else { 0 };
    let change = libc::mount_attr {
        attr_set: attributes.set | idmap,
        attr_clr: attributes.clear,
        propagation: 0,
        userns_fd: attributes.idmap.map_or(0, |fd| fd.as_raw_fd().cast_unsigned().into()),
    };
    let recursive = if depth == Depth::Recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path and the structure outlive the call, the size given is the structure's, the descriptors are open.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            dir.as_raw_fd(),
            path.as_ptr(),
            libc::AT_EMPTY_PATH | recursive,
            &raw const change,
            size_of::<libc::mount_attr>(),
        )
    };
    if answer == 0 { Ok(()) } else { Err(last_errno()) }
}

fn last_errno() -> Errno {
    let error = std::io::Error::last_os_error();
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}
