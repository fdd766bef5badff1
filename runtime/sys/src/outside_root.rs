//! Owns the file system a command on the host's own root sees when `confined`: the host's, read-only but for some
//! directories, with a private `/tmp`, `/run`, `/dev` and `/proc`.
//! Must not change the mounts of anybody else. Called by `entry` as root, in a mount namespace of its own.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{CWD, OFlags};
use rustix::mount::{MountAttrFlags, MountFlags, mount};

use crate::confined::{Captured, Level, TargetView, View};
use crate::detached_mount::{Attributes, Depth, DetachedMount, attach_all, place, set_attributes};
use crate::in_root::{self, Links};
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
        attach_all(writable_mounts(&job.view)?)?;
        return bind_all(job.view.target.as_ref());
    }
    let view = &job.view;
    // Made while everything can still be written to.
    let clones = writable_mounts(view)?;
    let tmp = view.tmp.as_ref().map(capture).transpose()?.map(|(_, mount)| mount);

    let resolver = resolver_in_run();
    let read_only = Attributes { set: libc::MOUNT_ATTR_RDONLY, ..Attributes::default() };
    set_attributes(CWD, "/", Depth::Recursive, read_only).context("make the host read-only")?;
    // Cloned when everything is read-only already, and before it is hidden; with what is mounted below, which may be the work directory.
    let mut hidden: Vec<&PathBuf> =
        view.readable.iter().filter(|path| is_hidden(path) && path.is_dir()).collect();
    hidden.sort();
    let hidden: Vec<(PathBuf, DetachedMount)> = hidden
        .into_iter()
        .map(|path| DetachedMount::clone_of(path, Depth::Recursive).map(|clone| (path.clone(), clone)))
        .collect::<Result<_>>()?;
    for (path, mode) in PRIVATE {
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
        let private = DetachedMount::new("tmpfs", &[("mode", mode)], attributes)?;
        let given = tmp.as_ref().filter(|_| path == "/tmp");
        given.unwrap_or(&private).attach_over(path.as_ref())?;
    }
    keep_resolv_conf(resolver)?;
    mount_dev(place("/dev".as_ref())?.as_fd(), 0, &[])?;
    attach_all(hidden)?;
    attach_all(clones)?;
    bind_all(view.target.as_ref())
}

/// The directories that may be written to and those whose changes are captured, outer ones first, so that an inner one ends up on top.
fn writable_mounts(view: &View) -> Result<Vec<(PathBuf, DetachedMount)>> {
    let mut mounts = Vec::new();
    for path in &view.writable {
        let path = path.canonicalize().with_context(|| format!("writable directory {}", path.display()))?;
        mounts.push((path.clone(), DetachedMount::clone_of(&path, Depth::Recursive)?));
    }
    for captured in &view.captured {
        mounts.push(capture(captured)?);
    }
    mounts.sort_by(|(left, _), (right, _)| left.cmp(right));
    mounts.dedup_by(|(left, _), (right, _)| left == right);
    Ok(mounts)
}

/// An overlay over a directory, and where that really is. Where the kernel refuses one (layers may not lie in each other, some file systems
/// can't be one), there is an empty directory to write to in its place. Sockets of the host's programs can't be connected to in either.
fn capture(captured: &Captured) -> Result<(PathBuf, DetachedMount)> {
    let path = captured.path.canonicalize();
    let path = path.with_context(|| format!("captured directory {}", captured.path.display()))?;
    // By descriptor: no character of the path can mean anything to the kernel's option parser.
    let lower = place(&path)?;
    let lower_path = format!("/proc/self/fd/{}", lower.as_raw_fd());
    let (upper, work) = (text(&captured.upper)?, text(&captured.work)?);
    let options = [("lowerdir", lower_path.as_str()), ("upperdir", upper), ("workdir", work)];
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let mount = DetachedMount::new("overlay", &options, attributes)
        .or_else(|_| DetachedMount::clone_of(&captured.upper, Depth::Recursive))
        .with_context(|| format!("capture what is written to {}", path.display()))?;
    Ok((path, mount))
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

/// Mounts what is to be seen in the target; no link of the target leads out of it.
fn bind_all(target: Option<&TargetView>) -> Result<()> {
    let Some(target) = target.filter(|target| !target.binds.is_empty()) else { return Ok(()) };
    let root = place(&target.root)?;
    for (from, to) in &target.binds {
        let context = || format!("mount on {to} in the target");
        let bound = DetachedMount::clone_of(from, Depth::Recursive)?;
        let over = in_root::open(root.as_fd(), to, OFlags::PATH | OFlags::CLOEXEC, Links::Follow);
        bound.attach(over.with_context(context)?.as_fd()).with_context(context)?;
    }
    Ok(())
}

/// Mounts what programs in the root file system `target` expect of a running system. Its directories may be anything: links in
/// their place are refused, and what is missing is left out.
pub(crate) fn furnish(target: &Path) -> Result<()> {
    let root = place(target)?;
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::DIRECTORY;
    for name in ["/proc", "/dev", "/sys"] {
        let Ok(over) = in_root::open(root.as_fd(), name, flags, Links::Refuse) else { continue };
        let mount = if name == "/proc" {
            let quiet = MountAttrFlags::MOUNT_ATTR_NOSUID
                | MountAttrFlags::MOUNT_ATTR_NODEV
                | MountAttrFlags::MOUNT_ATTR_NOEXEC;
            DetachedMount::new("proc", &[], quiet)?
        } else {
            // Nothing of what the host has mounted below its /sys.
            let depth = if name == "/dev" { Depth::Recursive } else { Depth::Single };
            DetachedMount::clone_of(name.as_ref(), depth)?
        };
        mount.attach(over.as_fd()).with_context(|| format!("mount {name} in {}", target.display()))?;
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
