//! Owns mounting, unmounting, trimming and syncing of mounted file systems.
//! Must not know what is mounted or why. Called by the engine's disk steps and by `work_dir`.
//!
//! Unmounting is never lazy: data would still be on its way to the image when the caller goes on.
#![expect(unsafe_code, reason = "FITRIM is an ioctl")]

use std::ffi::CString;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use crate::busy::{Held, held_by};
use crate::loops::Access;

/// How long `unmount` waits for the last user to let go.
const UNMOUNT_WAIT: Duration = Duration::from_secs(5);
/// `FITRIM`, `_IOWR('X', 121, struct fstrim_range)` of `linux/fs.h`.
const FITRIM: u32 = 0xC018_5879;

/// A mount that is ours. Call [`Mount::unmount`]; dropping it only tries once, and one that was found ([`Mount::at`]) is left alone.
#[derive(Debug)]
pub struct Mount {
    dir: Option<PathBuf>,
    origin: Origin,
}

/// Whose process mounted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Made,
    Found,
}

impl Mount {
    /// Mounts `device` (or a name, for file systems without one) of type `fstype` on `dir` with the comma-separated
    /// `options` of mount(8), as far as they are flags of mount(2) or understood by the file system.
    ///
    /// # Errors
    /// When the kernel refuses, with what it was asked.
    pub fn new(device: &Path, dir: &Path, fstype: &str, options: &str) -> Result<Mount> {
        let (flags, data) = parse_options(options);
        let what = || format!("mounting {} ({fstype}, `{options}`) on {}", device.display(), dir.display());
        let data = CString::new(data).with_context(what)?;
        tracing::debug!(device = %device.display(), dir = %dir.display(), fstype, options, "mount");
        match rustix::mount::mount(device, dir, fstype, flags, &*data) {
            Ok(()) => Ok(Mount::made(dir)),
            Err(Errno::NODEV) => bail!("{}: this kernel has no {fstype}", what()),
            Err(errno) => Err(errno).with_context(what),
        }
    }

    /// Makes the tree at `from` (without mounts below it) visible at `dir`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn bind(from: &Path, dir: &Path, access: Access) -> Result<Mount> {
        let what = || format!("binding {} on {}", from.display(), dir.display());
        tracing::debug!(from = %from.display(), dir = %dir.display(), ?access, "bind");
        rustix::mount::mount_bind(from, dir).with_context(what)?;
        let mount = Mount::made(dir);
        if access == Access::ReadOnly {
            rustix::mount::mount_remount(dir, MountFlags::BIND | MountFlags::RDONLY, "")
                .with_context(what)?;
        }
        Ok(mount)
    }

    /// Makes the tree at `from`, with all that is mounted below it, visible at `dir` too.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn bind_all(from: &Path, dir: &Path) -> Result<Mount> {
        tracing::debug!(from = %from.display(), dir = %dir.display(), "bind with all below");
        rustix::mount::mount_bind_recursive(from, dir)
            .with_context(|| format!("binding {} on {}", from.display(), dir.display()))?;
        Ok(Mount::made(dir))
    }

    /// Takes it away with all that is mounted below it; whoever still uses a file there keeps that file.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn detach(mut self) -> Result<()> {
        let dir = self.dir.take().expect("only unmount(), detach() and drop() take it");
        tracing::debug!(dir = %dir.display(), "detach");
        rustix::mount::unmount(&dir, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH)
            .with_context(|| format!("detaching {}", dir.display()))
    }

    /// Where it is mounted.
    pub fn dir(&self) -> &Path {
        self.dir.as_deref().expect("only unmount() and drop() take it")
    }

    /// One that [`Mount::keep`] left at `dir`; none when nothing is mounted there.
    ///
    /// # Errors
    /// When the mount table cannot be read.
    pub fn at(dir: &Path) -> Result<Option<Mount>> {
        let Ok(dir) = dir.canonicalize() else { return Ok(None) };
        let is_mounted = mounted_below(&dir)?.contains(&dir);
        Ok(is_mounted.then_some(Mount { dir: Some(dir), origin: Origin::Found }))
    }

    /// One that was mounted by other means on `dir`.
    pub(crate) fn made(dir: &Path) -> Mount {
        Mount { dir: Some(dir.to_owned()), origin: Origin::Made }
    }

    /// Leaves it mounted when this process ends.
    pub fn keep(mut self) {
        self.dir = None;
    }

    /// Unmounts it, see [`unmount`].
    ///
    /// # Errors
    /// As [`unmount`].
    pub fn unmount(mut self) -> Result<()> {
        unmount(&self.dir.take().expect("only unmount() and drop() take it"))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let Some(dir) = self.dir.take().filter(|_| self.origin == Origin::Made) else { return };
        if let Err(errno) = rustix::mount::unmount(&dir, UnmountFlags::NOFOLLOW) {
            tracing::warn!(dir = %dir.display(), "left mounted: {errno}");
        }
    }
}

/// Unmounts what is mounted on `dir`; when it is busy, waits up to 5 s for its last user.
///
/// # Errors
/// When it is still busy after that (the processes that hold it are named) or the kernel refuses.
pub fn unmount(dir: &Path) -> Result<()> {
    unmount_with(dir, UnmountFlags::NOFOLLOW)
}

/// As [`unmount`], for a FUSE file system of this process: its connection ends at once, for all copies of the mount, and
/// whoever still uses it gets errors.
///
/// # Errors
/// As [`unmount`].
pub(crate) fn unmount_by_force(dir: &Path) -> Result<()> {
    unmount_with(dir, UnmountFlags::NOFOLLOW | UnmountFlags::FORCE)
}

fn unmount_with(dir: &Path, flags: UnmountFlags) -> Result<()> {
    tracing::debug!(dir = %dir.display(), ?flags, "unmount");
    // Asked before: an ended connection answers no more.
    let device = std::fs::metadata(dir).map(|status| status.dev());
    let deadline = Instant::now() + UNMOUNT_WAIT;
    let mut pause = Duration::from_millis(2);
    loop {
        match rustix::mount::unmount(dir, flags) {
            Ok(()) => return Ok(()),
            Err(Errno::BUSY) if Instant::now() < deadline => {
                sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(200));
            }
            Err(Errno::BUSY) => {
                let device = device.with_context(|| dir.display().to_string())?;
                bail!("unmounting {}: busy, {}", dir.display(), held_by(Held::FileSystem(device)));
            }
            Err(errno) => return Err(errno).with_context(|| format!("unmounting {}", dir.display())),
        }
    }
}

/// Tells the device below the file system at `dir` which blocks are unused, so that a sparse image stays sparse.
/// Returns the bytes trimmed, 0 where the file system or device cannot.
///
/// # Errors
/// On I/O errors.
pub fn fstrim(dir: &Path) -> Result<u64> {
    /// `struct fstrim_range`.
    #[repr(C)]
    struct Range {
        start: u64,
        length: u64,
        minimum: u64,
    }
    let file = File::open(dir).with_context(|| dir.display().to_string())?;
    let mut range = Range { start: 0, length: u64::MAX, minimum: 0 };
    // SAFETY: `range` is a whole, writable `struct fstrim_range` that outlives the call.
    let answer = unsafe { libc::ioctl(file.as_raw_fd(), FITRIM as _, &raw mut range) };
    if answer == 0 {
        return Ok(range.length);
    }
    let error = std::io::Error::last_os_error();
    match Errno::from_io_error(&error) {
        Some(Errno::OPNOTSUPP | Errno::NOTTY) => {
            tracing::debug!(dir = %dir.display(), "cannot be trimmed");
            Ok(0)
        }
        _ => Err(error).with_context(|| format!("trimming {}", dir.display())),
    }
}

/// Writes everything cached of the file system at `dir`; reports write errors that happened since it was mounted.
///
/// # Errors
/// On I/O errors, a full disk below the image among them.
pub fn syncfs(dir: &Path) -> Result<()> {
    let file = File::open(dir).with_context(|| dir.display().to_string())?;
    rustix::fs::syncfs(&file).with_context(|| format!("writing cached data of {}", dir.display()))
}

/// Mount points at or below `dir` in this mount namespace, deepest last.
///
/// # Errors
/// When the mount table cannot be read.
pub fn mounted_below(dir: &Path) -> Result<Vec<PathBuf>> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").context("/proc/self/mountinfo")?;
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(unescape);
    let mut below: Vec<PathBuf> = points.filter(|point| point.starts_with(dir)).collect();
    below.sort();
    Ok(below)
}

/// The mount table writes space, tab, newline and backslash as `\ooo`.
fn unescape(field: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let bytes = field.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let octal = bytes.get(at + 1..at + 4).and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped =
            octal.filter(|_| bytes[at] == b'\\').and_then(|digits| u8::from_str_radix(digits, 8).ok());
        plain.push(escaped.unwrap_or(bytes[at]));
        at += if escaped.is_some() { 4 } else { 1 };
    }
    PathBuf::from(std::ffi::OsString::from_vec(plain))
}

/// Splits mount(8) options into mount(2) flags and what is left for the file system.
fn parse_options(options: &str) -> (MountFlags, String) {
    let mut flags = MountFlags::empty();
    let mut rest = Vec::new();
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "defaults" | "rw" | "suid" | "dev" | "exec" | "async" | "auto" | "noauto" | "nofail" => {}
            "ro" => flags |= MountFlags::RDONLY,
            "nosuid" => flags |= MountFlags::NOSUID,
            "nodev" => flags |= MountFlags::NODEV,
            "noexec" => flags |= MountFlags::NOEXEC,
            "sync" => flags |= MountFlags::SYNCHRONOUS,
            "noatime" => flags |= MountFlags::NOATIME,
            "nodiratime" => flags |= MountFlags::NODIRATIME,
            "relatime" => flags |= MountFlags::RELATIME,
            "strictatime" => flags |= MountFlags::STRICTATIME,
            "lazytime" => flags |= MountFlags::LAZYTIME,
            _ if option.starts_with("x-") => {}
            _ => rest.push(option),
        }
    }
    (flags, rest.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_split_into_flags_and_data() {
        let cases = [
            ("", MountFlags::empty(), ""),
            ("defaults", MountFlags::empty(), ""),
            (
                "ro,noatime,discard,x-systemd.automount,data=ordered",
                MountFlags::RDONLY | MountFlags::NOATIME,
                "discard,data=ordered",
            ),
        ];
        for (options, flags, data) in cases {
            assert_eq!(parse_options(options), (flags, data.to_owned()), "{options}");
        }
    }

    #[test]
    fn mount_table_escapes() {
        assert_eq!(unescape(r"/a\040b\134c"), PathBuf::from(r"/a b\c"));
    }
}
