//! Owns the `resolv.conf` of a sandbox with network: a copy of the host's, seen instead of the target's own.
//! Must not change the target, nor follow its `/etc/resolv.conf`, which may be a link to anywhere.
//! Called by `inside_root`.

use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;

use crate::detached_mount::DetachedMount;
use crate::in_root::{self, Links};
use crate::inside_root::Placeholder;

/// Where the copy is for a moment, in the sandbox's own `/dev`.
const COPY: &str = ".resolv.conf";

/// Mounts a writable copy of the host's `/etc/resolv.conf` over the target's: writes of the command work and are forgotten.
pub(crate) fn mount_resolv_conf(
    root: BorrowedFd<'_>,
    dev: &DetachedMount,
    made: &mut Vec<Placeholder>,
) -> Result<()> {
    // Where the host has none, names are found by its /etc/hosts or not at all; the target is as well off with its own.
    let Ok(contents) = std::fs::read("/etc/resolv.conf") else { return Ok(()) };
    let etc = match in_root::open(root, "/etc", OFlags::PATH | OFlags::DIRECTORY, Links::Refuse) {
        // Nothing that could ask for names runs in such a target.
        Err(Errno::NOENT) => return Ok(()),
        answer => answer.context("/etc of the target")?,
    };
    let copy = openat(
        dev.root(),
        COPY,
        OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC,
        Mode::from_raw_mode(0o644),
    )
    .context("copy resolv.conf")?;
    std::fs::File::from(copy).write_all(&contents).context("copy resolv.conf")?;
    let seen = DetachedMount::clone_at(dev.root(), COPY)?;

    let place =
        match openat(&etc, "resolv.conf", OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
            Err(Errno::NOENT) => {
                let (place, placeholder) =
                    Placeholder::make(etc.as_fd(), "/etc", "resolv.conf", FileType::RegularFile)?;
                made.push(placeholder);
                place
            }
            answer => answer.context("/etc/resolv.conf of the target")?,
        };
    // When it is a link, the mount lies over the link itself, which a walk finds before it would follow.
    seen.attach(place.as_fd()).context("mount over /etc/resolv.conf of the target")?;
    unlinkat(dev.root(), COPY, AtFlags::empty()).context("hide the copy of resolv.conf")
}
