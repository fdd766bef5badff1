//! Owns the file system a command on the host's own root sees when `confined`: the host's, read-only but for some
//! directories, with a private `/tmp`, `/run`, `/dev` and `/proc`.
//! Must not change the mounts of anybody else. Called by `entry` as root, in a mount namespace of its own.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{CWD, Mode, OFlags, open};
use rustix::mount::{MountAttrFlags, MountFlags, mount};

use crate::confined::Level;
use crate::detached_mount::{Attributes, Depth, DetachedMount, set_attributes};
use crate::minimal_dev::mount_dev;
use crate::spec::OutsideJob;

/// Parts of `/proc` through which root changes the machine.
const PROC_SETTINGS: [&str; 5] = ["/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs"];

/// Directories that are empty and private, with their modes. `/run` has the sockets of the host's daemons, which would do
/// for a caller what its own rights forbid; read-only mounts don't stop that.
const PRIVATE: [(&str, &str); 2] = [("/tmp", "1777"), ("/run", "755")];

/// Mounts everything but `/proc`.
pub(crate) fn build(job: &OutsideJob) -> Result<()> {
    if job.level == Level::Host {
        return Ok(());
    }
    // Outer directories first, so that an inner one ends up on top of it. Cloned while still writable.
    let mut writable: Vec<PathBuf> = Vec::new();
    for path in &job.writable {
        writable.push(path.canonicalize().with_context(|| format!("writable directory {}", path.display()))?);
    }
    writable.sort();
    writable.dedup();
    let clones: Vec<(PathBuf, DetachedMount)> = writable
        .into_iter()
        .map(|path| DetachedMount::clone_of(&path, Depth::Recursive).map(|clone| (path, clone)))
        .collect::<Result<_>>()?;

    let resolver = resolver_in_run();
    let read_only = Attributes { set: libc::MOUNT_ATTR_RDONLY, ..Attributes::default() };
    set_attributes(CWD, "/", Depth::Recursive, read_only).context("make the host read-only")?;
    // Cloned when everything is read-only already, and before it is hidden; with what is mounted below, which may be the work directory.
    let mut hidden: Vec<&PathBuf> =
        job.readable.iter().filter(|path| is_hidden(path) && path.is_dir()).collect();
    hidden.sort();
    let hidden: Vec<(PathBuf, DetachedMount)> = hidden
        .into_iter()
        .map(|path| DetachedMount::clone_of(path, Depth::Recursive).map(|clone| (path.clone(), clone)))
        .collect::<Result<_>>()?;
    for (path, mode) in PRIVATE {
        if !clones.iter().any(|(writable, _)| writable == Path::new(path)) {
            let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
            let private = DetachedMount::new("tmpfs", &[("mode", mode)], attributes)?;
            private
                .attach(place(path.as_ref())?.as_fd())
                .with_context(|| format!("mount a private {path}"))?;
        }
    }
    keep_resolv_conf(resolver)?;
    mount_dev(place("/dev".as_ref())?.as_fd(), 0, &[])?;
    for (path, clone) in hidden.into_iter().chain(clones) {
        if is_hidden(&path) {
            fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
        }
        clone.attach(place(&path)?.as_fd()).with_context(|| format!("mount {}", path.display()))?;
    }
    Ok(())
}

/// Whether a path lies below a directory that is private.
fn is_hidden(path: &Path) -> bool {
    PRIVATE.iter().any(|(private, _)| path.starts_with(private) && path != Path::new(private))
}

/// Mounts `/proc` of the caller's pid namespace; when `confined`, with the machine's settings read-only.
pub(crate) fn mount_proc(level: Level) -> Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", "/proc", "proc", flags, None).context("mount /proc")?;
    if level == Level::Host {
        return Ok(());
    }
    for path in PROC_SETTINGS.map(Path::new) {
        if path.exists() {
            let part = DetachedMount::clone_of(path, Depth::Single)?;
            part.change(Depth::Single, Attributes { set: libc::MOUNT_ATTR_RDONLY, ..Attributes::default() })?;
            part.attach(place(path)?.as_fd())
                .with_context(|| format!("make {} read-only", path.display()))?;
        }
    }
    Ok(())
}

/// On many hosts `/etc/resolv.conf` is a link into `/run`: where to, and what is there.
fn resolver_in_run() -> Option<(PathBuf, Vec<u8>)> {
    let path = Path::new("/etc/resolv.conf").canonicalize().ok()?;
    let contents = fs::read(&path).ok()?;
    path.starts_with("/run").then_some((path, contents))
}

fn keep_resolv_conf(resolver: Option<(PathBuf, Vec<u8>)>) -> Result<()> {
    let Some((path, contents)) = resolver else { return Ok(()) };
    let write = || {
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/run")))?;
        fs::write(&path, contents)
    };
    write().with_context(|| format!("keep {}", path.display()))
}

fn place(path: &Path) -> Result<OwnedFd> {
    open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .with_context(|| format!("open {}", path.display()))
}
