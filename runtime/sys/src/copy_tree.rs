//! Owns copying a finished tree into a mounted file system, with everything that tar or `cp -a` would keep.
//! Must not know what the tree is for. Called by the engine when it fills a partition, and by `target_files`.
//!
//! The tree is at rest. Still nothing is ever followed: every entry is reached through its directory's descriptor.
//! Entries go in sorted order, so that equal trees give equal file systems.

use std::collections::HashMap;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, SeekFrom, Stat, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use crate::tree_walk::{DEEPEST, open_dir, open_start, shown, sorted_entries, stat_entry, tree_usage};

/// One read and write of the copy that goes through our memory.
const BUFFER: usize = 256 * 1024;
/// The kernel's bounds for the list of attribute names and for one value (`linux/limits.h`).
const XATTR_MAX: usize = 65536;

/// What was copied.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Copied {
    /// Entries made, further names of hard-linked files included, the top directory not.
    pub entries: u64,
    /// Bytes of file contents written; holes do not count.
    pub bytes: u64,
    /// Sockets, which mean nothing without their process and are left out.
    pub sockets: u64,
    /// Directories (absolute in the tree) on which something is mounted: made, but left empty as `cp -x` does.
    pub mount_points: Vec<PathBuf>,
}

/// Copies everything in the directory `from`, and its own mode, owner, times and attributes, into the directory `to`.
///
/// `to` may have further file systems mounted below it; directories that exist are filled, anything else that exists is
/// an error. Kept: mode, owner, modification time (ns; also given to the access time), extended attributes but
/// `trusted.overlay.*`, hard links, holes, devices, fifos. `skip_contents` lists absolute paths in the tree whose
/// directory is made but stays as it is in `to`. `progress` is called after every entry and may end the copy.
///
/// # Errors
/// On the first entry that cannot be copied, by its path; when the file system is full, with how much was needed.
pub fn copy_tree(
    from: &Path,
    to: &Path,
    skip_contents: &[&Path],
    progress: &mut dyn FnMut(&Copied) -> Result<()>,
) -> Result<Copied> {
    let (source, destination) = (open_start(from)?, open_start(to)?);
    copy_directory(source.as_fd(), destination.as_fd(), skip_contents, progress)
        .map_err(|error| explain_full(error, from, destination.as_fd()))
        .with_context(|| format!("copying {} to {}", from.display(), to.display()))
}

/// Copies a layer, an overlay's upper directory at rest, into the empty directory `to`: as [`copy_tree`], and with what the kernel's overlay
/// notes in `trusted.overlay.*`.
///
/// # Errors
/// As [`copy_tree`].
pub fn copy_layer(from: &Path, to: &Path) -> Result<Copied> {
    let (source, destination) = (open_start(from)?, open_start(to)?);
    let mut go_on = |_: &Copied| Ok(());
    let mut copy = Copy { overlay: true, ..Copy::new(destination.as_fd(), &[], &mut go_on) };
    copy.contents(source.as_fd(), destination.as_fd(), Path::new("/"), 0)
        .map_err(|error| explain_full(error, from, destination.as_fd()))
        .with_context(|| format!("copying {} to {}", from.display(), to.display()))?;
    Ok(copy.copied)
}

/// As [`copy_tree`], between open directories.
pub(crate) fn copy_directory(
    source: BorrowedFd<'_>,
    destination: BorrowedFd<'_>,
    skip_contents: &[&Path],
    progress: &mut dyn FnMut(&Copied) -> Result<()>,
) -> Result<Copied> {
    let mut copy = Copy::new(destination, skip_contents, progress);
    copy.contents(source, destination, Path::new("/"), 0)?;
    Ok(copy.copied)
}

/// A copy under way.
struct Copy<'a> {
    /// Where hard links are made from.
    top: BorrowedFd<'a>,
    skip_contents: &'a [&'a Path],
    /// `trusted.overlay.*` is kept.
    overlay: bool,
    progress: &'a mut dyn FnMut(&Copied) -> Result<()>,
    copied: Copied,
    /// First name, below `top`, of every file with several names.
    links: HashMap<(u64, u64), Vec<u8>>,
    /// Whether `copy_file_range` still seems to work between the two file systems.
    kernel_copy: bool,
    buffer: Vec<u8>,
    names: Vec<u8>,
    value: Vec<u8>,
}

impl<'a> Copy<'a> {
    fn new(
        top: BorrowedFd<'a>,
        skip_contents: &'a [&'a Path],
        progress: &'a mut dyn FnMut(&Copied) -> Result<()>,
    ) -> Self {
        Self {
            top,
            skip_contents,
            overlay: false,
            progress,
            copied: Copied::default(),
            links: HashMap::new(),
            kernel_copy: true,
            buffer: vec![0; BUFFER],
            names: vec![0; XATTR_MAX],
            value: vec![0; XATTR_MAX],
        }
    }

    /// Fills `to` from `from`, then gives it its metadata (last, since filling it changes its time).
    fn contents(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        path: &Path,
        depth: usize,
    ) -> Result<()> {
        if depth > DEEPEST {
            bail!("{}: more than {DEEPEST} directories deep", path.display());
        }
        let what = || path.display().to_string();
        let stat = rustix::fs::fstat(from).with_context(what)?;
        // Also drops a setgid bit, under which new entries would not be root's own.
        rustix::fs::fchmod(to, Mode::RWXU).with_context(what)?;
        if !self.skip_contents.contains(&path) {
            for (name, kind) in sorted_entries(from).with_context(what)? {
                self.entry(from, to, &name, kind, path, depth)?;
                (self.progress)(&self.copied)?;
            }
        }
        self.metadata(from, to, &stat).with_context(what)
    }

    fn entry(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
        kind: FileType,
        dir: &Path,
        depth: usize,
    ) -> Result<()> {
        let path = shown(dir, name);
        let what = || path.display().to_string();
        match kind {
            FileType::Directory => return self.directory(from, to, name, &path, depth),
            FileType::RegularFile => self.regular(from, to, name).with_context(what)?,
            FileType::Socket => {
                self.copied.sockets += 1;
                return Ok(());
            }
            FileType::Unknown => {
                let stat = stat_entry(from, name).with_context(what)?;
                let kind = FileType::from_raw_mode(stat.st_mode);
                if kind == FileType::Unknown {
                    bail!("{}: unknown kind of file", what());
                }
                return self.entry(from, to, name, kind, dir, depth);
            }
            _ => self.special(from, to, name, kind).with_context(what)?,
        }
        self.copied.entries += 1;
        Ok(())
    }

    fn directory(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
        path: &Path,
        depth: usize,
    ) -> Result<()> {
        let what = || path.display().to_string();
        match rustix::fs::mkdirat(to, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno).with_context(what),
        }
        self.copied.entries += 1;
        // Not `open_dir`: file systems mounted below the destination are to be filled.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(to, name, flags, Mode::empty()).with_context(what)?;
        match open_dir(from, name) {
            Ok(child) => self.contents(child.as_fd(), made.as_fd(), path, depth + 1),
            Err(Errno::XDEV) => {
                let stat = stat_entry(from, name).with_context(what)?;
                self.copied.mount_points.push(path.to_owned());
                give_owner(made.as_fd(), &stat).with_context(what)?;
                rustix::fs::fchmod(&made, Mode::from_raw_mode(stat.st_mode)).with_context(what)
            }
            Err(errno) => Err(errno).with_context(what),
        }
    }

    fn regular(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let source = rustix::fs::openat(from, name, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&source)?;
        if self.link(&stat, to, name)? {
            return Ok(());
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR)?;
        self.data(&source, &made, &stat)?;
        self.metadata(source.as_fd(), made.as_fd(), &stat)
    }

    /// Makes a further name of a file that is there already; remembers the first name of one that will get more.
    fn link(&mut self, stat: &Stat, to: BorrowedFd<'_>, name: &CStr) -> Result<bool, Errno> {
        if stat.st_nlink < 2 {
            return Ok(false);
        }
        let key = (stat.st_dev, stat.st_ino);
        if let Some(first) = self.links.get(&key) {
            return match rustix::fs::linkat(self.top, first.as_slice(), to, name, AtFlags::empty()) {
                Ok(()) => Ok(true),
                // The two names lie on different file systems of the destination, or it takes no more links.
                Err(Errno::XDEV | Errno::MLINK) => Ok(false),
                Err(errno) => Err(errno),
            };
        }
        let first = path_below(self.top, to, name)?;
        self.links.insert(key, first);
        Ok(false)
    }

    fn data(&mut self, source: &OwnedFd, made: &OwnedFd, stat: &Stat) -> Result<(), Errno> {
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let allocated = u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
        if allocated >= size {
            return self.range(source, made, 0, size);
        }
        let mut at = 0;
        while at < size {
            let start = match rustix::fs::seek(source, SeekFrom::Data(at)) {
                Ok(start) => start,
                // Only a hole is left.
                Err(Errno::NXIO) => break,
                Err(errno) => return Err(errno),
            };
            at = rustix::fs::seek(source, SeekFrom::Hole(start))?.min(size);
            self.range(source, made, start, at)?;
        }
        rustix::fs::ftruncate(made, size)
    }

    /// Copies the bytes from `at` to `end`, or to the end of the file if that comes first.
    fn range(&mut self, source: &OwnedFd, made: &OwnedFd, mut at: u64, end: u64) -> Result<(), Errno> {
        while self.kernel_copy && at < end {
            let (mut read_at, mut write_at) = (at, at);
            let length = usize::try_from(end - at).unwrap_or(usize::MAX);
            match rustix::fs::copy_file_range(source, Some(&mut read_at), made, Some(&mut write_at), length) {
                Ok(0) => return Ok(()),
                Ok(count) => {
                    at += count as u64;
                    self.copied.bytes += count as u64;
                }
                // Different kinds of file systems (an overlay and ext4, say).
                Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => self.kernel_copy = false,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        while at < end {
            let want = usize::try_from(end - at).unwrap_or(BUFFER).min(BUFFER);
            let got = rustix::io::retry_on_intr(|| rustix::io::pread(source, &mut self.buffer[..want], at))?;
            if got == 0 {
                return Ok(());
            }
            let mut done = 0;
            while done < got {
                let rest = &self.buffer[done..got];
                done += rustix::io::retry_on_intr(|| rustix::io::pwrite(made, rest, at + done as u64))?;
            }
            at += got as u64;
            self.copied.bytes += got as u64;
        }
        Ok(())
    }

    /// Symbolic links, devices and fifos: everything that has no descriptor of its own to work on.
    fn special(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
        kind: FileType,
    ) -> Result<(), Errno> {
        let stat = stat_entry(from, name)?;
        if self.link(&stat, to, name)? {
            return Ok(());
        }
        if kind == FileType::Symlink {
            let target = rustix::fs::readlinkat(from, name, Vec::new())?;
            rustix::fs::symlinkat(target, to, name)?;
        } else {
            rustix::fs::mknodat(to, name, kind, Mode::RUSR | Mode::WUSR, stat.st_rdev)?;
        }
        let (user, group) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        rustix::fs::chownat(to, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)?;
        self.attributes_of_entry(from, to, name)?;
        if kind != FileType::Symlink {
            // We made it just now, so there is no link to follow.
            rustix::fs::chmodat(to, name, Mode::from_raw_mode(stat.st_mode), AtFlags::empty())?;
        }
        rustix::fs::utimensat(to, name, &times(&stat), AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Owner, attributes, mode, times; in this order, since a new owner drops capabilities and setuid bits.
    fn metadata(&mut self, source: BorrowedFd<'_>, made: BorrowedFd<'_>, stat: &Stat) -> Result<(), Errno> {
        give_owner(made, stat)?;
        let length = match rustix::fs::flistxattr(source, &mut self.names[..]) {
            Err(Errno::OPNOTSUPP) => 0,
            length => length?,
        };
        for name in attribute_names(&self.names[..length], self.overlay) {
            let size = rustix::fs::fgetxattr(source, name, &mut self.value[..])?;
            rustix::fs::fsetxattr(made, name, &self.value[..size], XattrFlags::empty())?;
        }
        rustix::fs::fchmod(made, Mode::from_raw_mode(stat.st_mode))?;
        rustix::fs::futimens(made, &times(stat))
    }

    fn attributes_of_entry(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
    ) -> Result<(), Errno> {
        // No system call takes a directory descriptor here; /proc leads from it to the entry without a race.
        let (source, made) = (entry_path(from, name), entry_path(to, name));
        let length = match rustix::fs::llistxattr(&source, &mut self.names[..]) {
            Err(Errno::OPNOTSUPP) => 0,
            length => length?,
        };
        for name in attribute_names(&self.names[..length], self.overlay) {
            let size = rustix::fs::lgetxattr(&source, name, &mut self.value[..])?;
            rustix::fs::lsetxattr(&made, name, &self.value[..size], XattrFlags::empty())?;
        }
        Ok(())
    }
}

fn attribute_names(list: &[u8], overlay: bool) -> impl Iterator<Item = &[u8]> {
    let kept = move |name: &&[u8]| !name.is_empty() && (overlay || !name.starts_with(b"trusted.overlay."));
    list.split(|&byte| byte == 0).filter(kept)
}

/// New entries are root's already (a copy is made by root), which saves a journal entry for nearly every file.
fn give_owner(made: BorrowedFd<'_>, stat: &Stat) -> Result<(), Errno> {
    if (stat.st_uid, stat.st_gid) == (0, 0) && rustix::process::geteuid().is_root() {
        let now = rustix::fs::fstat(made)?;
        if (now.st_uid, now.st_gid) == (0, 0) {
            return Ok(());
        }
    }
    rustix::fs::fchown(made, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))
}

fn times(stat: &Stat) -> Timestamps {
    let modified =
        Timespec { tv_sec: stat.st_mtime, tv_nsec: i64::try_from(stat.st_mtime_nsec).unwrap_or(0) };
    Timestamps { last_access: modified, last_modification: modified }
}

fn entry_path(dir: BorrowedFd<'_>, name: &CStr) -> Vec<u8> {
    [format!("/proc/self/fd/{}/", dir.as_raw_fd()).as_bytes(), name.to_bytes()].concat()
}

/// The path of an entry below `top`, which is an ancestor of `dir`.
fn path_below(top: BorrowedFd<'_>, dir: BorrowedFd<'_>, name: &CStr) -> Result<Vec<u8>, Errno> {
    let of = |fd: BorrowedFd<'_>| {
        rustix::fs::readlinkat(rustix::fs::CWD, format!("/proc/self/fd/{}", fd.as_raw_fd()), Vec::new())
    };
    let (top, dir) = (of(top)?.into_bytes(), of(dir)?.into_bytes());
    let below = dir.strip_prefix(top.as_slice()).ok_or(Errno::XDEV)?;
    let below = below.strip_prefix(b"/").unwrap_or(below);
    Ok(if below.is_empty() { name.to_bytes().to_vec() } else { [below, b"/", name.to_bytes()].concat() })
}

/// Says how much space (or how many inodes) the tree needs when there is no more.
fn explain_full(error: anyhow::Error, from: &Path, to: BorrowedFd<'_>) -> anyhow::Error {
    if !matches!(error.downcast_ref::<Errno>(), Some(&(Errno::NOSPC | Errno::DQUOT))) {
        return error;
    }
    let (Ok(needed), Ok(has)) = (tree_usage(from), rustix::fs::fstatvfs(to)) else { return error };
    let path = error.to_string();
    let full = if has.f_ffree == 0 && has.f_files > 0 {
        format!(
            "no inodes left at {path}: the tree has {} entries, the file system {} inodes",
            needed.inodes, has.f_files
        )
    } else {
        let size = has.f_blocks * has.f_frsize;
        format!(
            "no space left at {path}: the tree needs {} bytes, the file system has {size} bytes in all",
            needed.bytes
        )
    };
    error.context(full)
}
