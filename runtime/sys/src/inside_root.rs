//! Owns the file system a sandboxed command sees: the target as `/`, with `/dev`, `/proc` and what was granted, nothing of
//! the host.
//! Must not follow anything in the target: it may be hostile. Called by `entry`, as the mapped root with all
//! capabilities, in a mount namespace of its own.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, StatVfsMountFlags, fstat, fstatvfs, mkdirat, open, openat, unlinkat,
};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MountFlags, UnmountFlags, mount, unmount};
use rustix::process::{chdir, fchdir, pivot_root};

use crate::detached_mount::{Attributes, Depth, DetachedMount};
use crate::host_root;
use crate::in_root::{self, Links};
use crate::minimal_dev::mount_dev;
use crate::sandbox::{Bind, BindAccess, BindOwners, Sysfs};
use crate::spec::{InsideJob, RootSpec};

/// What no mount of a target may do.
const CAGED: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
const PLACE: OFlags = OFlags::PATH.union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

/// Something made in the target only to mount over it; removed by [`clean_up`] after the command.
pub(crate) struct Placeholder {
    /// Where, from the target's root.
    path: String,
    kind: FileType,
    inode: u64,
}

/// Mounts everything but `/proc` (which must be made in the new pid namespace) and makes the target the root.
pub(crate) fn build(job: &InsideJob, userns: BorrowedFd<'_>) -> Result<Vec<Placeholder>> {
    let (place, root) = mount_target(&job.root, userns)?;
    if let Some(view) = &job.extras.host {
        host_root::build(view, place, userns, job.id_base)?;
        return Ok(Vec::new());
    }
    let root = root.as_fd();
    let mut made = Vec::new();
    mount_dev(directory(root, "/dev")?.as_fd(), job.id_base, &job.extras.devices)?;
    if job.extras.sysfs == Sysfs::ReadOnly {
        let flags = quiet_attributes() | MountAttrFlags::MOUNT_ATTR_RDONLY;
        let sysfs = DetachedMount::new("sysfs", &[], flags)?;
        sysfs.attach(directory(root, "/sys")?.as_fd()).context("mount /sys")?;
    }
    for bind in &job.extras.binds {
        mount_bind(root, bind, userns, &mut made)
            .with_context(|| format!("bind {}", bind.source.display()))?;
    }
    enter(root)?;
    Ok(made)
}

/// Mounts `/proc` of the caller's pid namespace. Its settings (`/proc/sys`) belong to root of the host, whom nobody in the
/// sandbox is.
pub(crate) fn mount_proc() -> Result<()> {
    let root = open("/", PLACE, Mode::empty()).context("open /")?;
    let proc = DetachedMount::new("proc", &[], quiet_attributes())?;
    proc.attach(directory(root.as_fd(), "/proc")?.as_fd()).context("mount /proc")
}

/// Removes the placeholders; the caller's root is the target and no process of the sandbox is left.
pub(crate) fn clean_up(made: &[Placeholder]) -> Result<()> {
    let root = open("/", PLACE, Mode::empty()).context("open /")?;
    for placeholder in made.iter().rev() {
        placeholder.remove(root.as_fd()).with_context(|| format!("remove {}", placeholder.path))?;
    }
    Ok(())
}

impl Placeholder {
    /// Makes an empty directory or file `name` in `parent`, which is `parent_path`.
    pub fn make(
        parent: BorrowedFd<'_>,
        parent_path: &str,
        name: &str,
        kind: FileType,
    ) -> Result<(OwnedFd, Self)> {
        let path = format!("{}/{name}", parent_path.trim_end_matches('/'));
        let place = if kind == FileType::Directory {
            mkdirat(parent, name, Mode::from_raw_mode(0o755))
                .and_then(|()| openat(parent, name, PLACE, Mode::empty()))
        } else {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            openat(parent, name, flags, Mode::from_raw_mode(0o644))
                .and_then(|_| openat(parent, name, PLACE, Mode::empty()))
        };
        let place = place.with_context(|| format!("make {path} in the target"))?;
        let inode = fstat(&place).with_context(|| format!("stat {path}"))?.st_ino;
        Ok((place, Self { path, kind, inode }))
    }

    /// Whatever the command made of it stays: only our own empty entry goes.
    fn remove(&self, root: BorrowedFd<'_>) -> Result<()> {
        let (parent, name) = in_root::split(&self.path)?;
        let Ok(parent) = in_root::open(root, parent, OFlags::PATH | OFlags::DIRECTORY, Links::Follow) else {
            return Ok(());
        };
        fchdir(&parent).context("enter its directory")?;
        match unmount(&name, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH) {
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
            Err(error) => return Err(error).context("unmount"),
        }
        let flags = if self.kind == FileType::Directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        match rustix::fs::statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found)
                if found.st_ino == self.inode && (self.kind == FileType::Directory || found.st_size == 0) => {
            }
            Ok(_) | Err(_) => return Ok(()),
        }
        match unlinkat(&parent, &name, flags) {
            Ok(()) | Err(Errno::NOTEMPTY) => Ok(()),
            Err(error) => Err(error).context("unlink"),
        }
    }
}

/// The target, mounted so that root of the user namespace owns what root owns on disk. Returns where, and its root.
fn mount_target<'a>(root: &'a RootSpec, userns: BorrowedFd<'_>) -> Result<(&'a Path, OwnedFd)> {
    let mapped = Attributes {
        set: CAGED | libc::MOUNT_ATTR_NOATIME,
        clear: libc::MOUNT_ATTR__ATIME,
        idmap: Some(userns),
    };
    let place = match root {
        RootSpec::Overlay { layers_dir, options, mount_point } => {
            // With the stored layers that are mounted in it.
            let layers = DetachedMount::clone_of(layers_dir, Depth::Recursive)?;
            // Layers hold device nodes as whiteouts, which need no `dev`.
            layers.change(Depth::Recursive, mapped).with_context(|| cannot_idmap(layers_dir))?;
            layers.attach(path_place(layers_dir)?.as_fd()).context("mount the idmapped layers")?;
            // The options are relative, to have room for many layers in the one page that mount(2) takes.
            chdir(layers_dir).with_context(|| format!("enter {}", layers_dir.display()))?;
            let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOATIME;
            let options = std::ffi::CString::new(options.as_str()).context("overlay options")?;
            mount("overlay", mount_point, "overlay", flags, options.as_c_str())
                .with_context(|| format!("mount the layers on {} ({options:?})", mount_point.display()))?;
            mount_point
        }
        RootSpec::Tree(path) => {
            let tree = DetachedMount::clone_of(path, Depth::Recursive)?;
            tree.change(Depth::Recursive, mapped).with_context(|| cannot_idmap(path))?;
            tree.attach(path_place(path)?.as_fd())
                .with_context(|| format!("mount over {}", path.display()))?;
            path
        }
    };
    let root = path_place(place)?;
    // An overlay whose mounter is nobody in its layers' map does not fail: it silently becomes read-only.
    if fstatvfs(&root).context("statvfs of the target")?.f_flag.contains(StatVfsMountFlags::RDONLY) {
        bail!("the target on {} is mounted read-only", place.display());
    }
    Ok((place, root))
}

fn cannot_idmap(path: &Path) -> String {
    format!(
        "map the ids of {}: its file system or kernel has no idmapped mounts (ext4, xfs, btrfs from Linux 5.15; tmpfs from 6.3)",
        path.display()
    )
}

fn mount_bind(
    root: BorrowedFd<'_>,
    bind: &Bind,
    userns: BorrowedFd<'_>,
    made: &mut Vec<Placeholder>,
) -> Result<()> {
    let source = DetachedMount::clone_of(&bind.source, Depth::Recursive)?;
    let read_only = if bind.access == BindAccess::ReadOnly { libc::MOUNT_ATTR_RDONLY } else { 0 };
    let attributes = |idmap| Attributes { set: CAGED | read_only, clear: 0, idmap };
    match bind.owners {
        BindOwners::Mapped => source.change(Depth::Recursive, attributes(Some(userns)))?,
        BindOwners::Foreign => source.change(Depth::Recursive, attributes(None))?,
        BindOwners::MappedIfPossible => source
            .change(Depth::Recursive, attributes(Some(userns)))
            .or_else(|_| source.change(Depth::Recursive, attributes(None)))?,
    }
    let kind = FileType::from_raw_mode(fstat(source.root()).context("stat")?.st_mode);
    let kind = if kind == FileType::Directory { kind } else { FileType::RegularFile };

    let dest = bind.dest.to_str().context("a destination that is not UTF-8")?;
    let (parent_path, name) = in_root::split(dest)?;
    let parent = in_root::open(root, parent_path, OFlags::PATH | OFlags::DIRECTORY, Links::Follow)
        .with_context(|| format!("{parent_path} in the target"))?;
    let place = match openat(&parent, &name, PLACE, Mode::empty()) {
        Err(Errno::NOENT) => {
            let name = name.to_str().context("a destination that is not UTF-8")?;
            let (place, placeholder) = Placeholder::make(parent.as_fd(), parent_path, name, kind)?;
            made.push(placeholder);
            place
        }
        answer => answer.with_context(|| format!("open {dest} in the target"))?,
    };
    source.attach(place.as_fd()).with_context(|| format!("mount on {dest} in the target"))
}

/// Makes `root` the root of this mount namespace, and the host's root unreachable.
fn enter(root: BorrowedFd<'_>) -> Result<()> {
    fchdir(root).context("enter the target")?;
    // Old and new root on the same place: no directory for the old one is needed in the target.
    pivot_root(".", ".").context("pivot_root")?;
    unmount(".", UnmountFlags::DETACH).context("detach the host's root")?;
    chdir("/").context("chdir /")
}

/// A directory of the target's own root; links are refused, not followed.
fn directory(root: BorrowedFd<'_>, path: &str) -> Result<OwnedFd> {
    in_root::open(root, path, PLACE | OFlags::DIRECTORY, Links::Refuse)
        .with_context(|| format!("the target has no directory {path}: is it a root file system yet?"))
}

/// A trusted path of the host, to mount over or to take as a root.
fn path_place(path: &Path) -> Result<OwnedFd> {
    openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .with_context(|| format!("open {}", path.display()))
}

fn quiet_attributes() -> MountAttrFlags {
    MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC
}
