//! Owns lending a directory of the target as a mount of its own: nothing that is mounted below it (`/proc`, `/dev`), no device that works,
//! no set-user-id program that does, and attached nowhere.
//! Must not know who gets it. Called by the engine, for components that use WASI.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use rustix::fs::OFlags;

use crate::detached_mount::{Attributes, Depth, DetachedMount};
use crate::in_root::{check, open, refused};
use crate::target_files::TargetRoot;

/// What is done in a lent directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TreeAccess {
    /// Reading.
    Read,
    /// Reading and writing.
    Write,
}

impl TargetRoot {
    /// The directory `path` (links are followed, within the target) with what is in it.
    ///
    /// # Errors
    /// A [`crate::target_files::FileError`] when there is no such directory; another error when the kernel makes no mount of it.
    pub fn detached_tree(&self, path: &str, access: TreeAccess) -> Result<OwnedFd> {
        check(path)?;
        let directory = open(self.root.as_fd(), path, OFlags::PATH | OFlags::DIRECTORY, self.links)
            .map_err(|errno| refused(path, errno))?;
        let tree = DetachedMount::clone_at(directory.as_fd()).with_context(|| path.to_owned())?;
        let read_only = match access {
            TreeAccess::Read => libc::MOUNT_ATTR_RDONLY,
            TreeAccess::Write => 0,
        };
        let set = libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOSUID | read_only;
        tree.change(Depth::Single, Attributes { set, ..Attributes::default() })?;
        Ok(tree.into_root())
    }
}
