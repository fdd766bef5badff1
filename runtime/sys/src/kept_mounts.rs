//! Owns what a command on the host's root leaves mounted in the target: it is handed over to the engine's mount namespace, since
//! the command's own is about to end.
//! Must not decide which commands may leave mounts. Called by `entry`, in the command's mount namespace, before and after it.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{CWD, Mode, OFlags, open};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::detached_mount::{Depth, DetachedMount};
use crate::mounts::mounted_below;

/// Directories of a root file system whose mounts are the kernel's: every command has its own.
const KERNELS: [&str; 4] = ["dev", "proc", "run", "sys"];

/// What is mounted in the target before the command runs.
pub(crate) fn present(target: &Path) -> Result<BTreeSet<PathBuf>> {
    Ok(mounted_below(target)?.into_iter().collect())
}

/// Moves this process to the engine's mount namespace, with every mount that was not there before. Returns where they were and are.
pub(crate) fn hand_over(
    target: &Path,
    places: &Path,
    before: &BTreeSet<PathBuf>,
    engine: BorrowedFd<'_>,
) -> Result<Vec<(PathBuf, PathBuf)>> {
    // The command's own /proc shows nothing any more, now that its pid namespace is dead; ours is below it.
    unmount("/proc", UnmountFlags::DETACH).context("uncover /proc")?;
    let mut left: Vec<PathBuf> = mounted_below(target)?;
    left.retain(|path| !before.contains(path) && !is_kernels(target, path));
    left.sort();
    left.dedup();
    let mut tops: Vec<PathBuf> = Vec::new();
    for path in left {
        if !tops.last().is_some_and(|top| path.starts_with(top)) {
            tops.push(path);
        }
    }
    let clones: Vec<(PathBuf, DetachedMount)> = tops
        .into_iter()
        .map(|path| DetachedMount::clone_of(&path, Depth::Recursive).map(|clone| (path, clone)))
        .collect::<Result<_>>()?;
    move_into_link_name_space(engine, Some(LinkNameSpaceType::Mount))
        .context("enter the engine's mount namespace")?;
    clones.into_iter().map(|(path, clone)| Ok((path, attach(places, &clone)?))).collect()
}

fn is_kernels(target: &Path, path: &Path) -> bool {
    let first = path.strip_prefix(target).ok().and_then(|inner| inner.components().next());
    first.is_some_and(|first| KERNELS.iter().any(|known| first.as_os_str() == *known))
}

/// Mounts it on a new directory, or file, of the place for them.
fn attach(places: &Path, mount: &DetachedMount) -> Result<PathBuf> {
    let mut number = 0;
    let context = || format!("make a place in {}", places.display());
    let place = loop {
        let place = places.join(number.to_string());
        match fs::create_dir(&place) {
            Ok(()) => break place,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error).with_context(context),
        }
    };
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let over = rustix::fs::openat(CWD, &place, flags, Mode::empty()).with_context(context)?;
    match mount.attach(over.as_fd()) {
        Err(Errno::NOTDIR) => {
            fs::remove_dir(&place).with_context(context)?;
            fs::write(&place, "").with_context(context)?;
            let over = open(&place, flags, Mode::empty()).with_context(context)?;
            mount.attach(over.as_fd())
        }
        answer => answer,
    }
    .with_context(|| format!("keep a mount on {}", place.display()))?;
    Ok(place)
}
