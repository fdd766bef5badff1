//! Owns every change that a typed element may ask for below the target's root directory.
//! Must not know policies or elements. Called by the engine through `target_files::TargetRoot`.
//!
//! The last component of a path is never followed here. Files and links come into place by rename, whole or not at all.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use crate::in_root::{FileError, check, invalid, open, refused, split};
use crate::target_files::{Place, TargetRoot, kind_name};
use crate::{copy_tree, tree_walk};

/// Bytes copied at once.
const PIECE: usize = 128 << 10;

/// What becomes of setuid, setgid and sticky in a mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpecialBits {
    /// They are masked off.
    Strip,
    /// They are kept; the caller has checked that they may be.
    Keep,
}

impl TargetRoot {
    /// Creates the file or replaces what is there (a link itself, not what it points to) in one step. The new file is
    /// root's, has exactly `mode` and no extended attributes, whatever was there before; other hard links of an old
    /// file keep the old contents. Missing parents are made, mode 0755. (Callers that are not root keep their own owner.)
    ///
    /// # Errors
    /// [`FileError::TooLarge`] beyond the limit; when a directory is in the way.
    pub fn write(
        &self,
        path: &str,
        contents: &[u8],
        mode: u32,
        special: SpecialBits,
    ) -> Result<(), FileError> {
        if contents.len() as u64 > self.limit {
            return Err(FileError::TooLarge { path: path.to_owned(), limit: self.limit });
        }
        self.write_with(path, mode, special, &mut |file| write_all(file, contents))
    }

    /// As [`TargetRoot::write`], with all that `contents` still has.
    ///
    /// # Errors
    /// As there; and when `contents` can't be read.
    pub fn write_from(
        &self,
        path: &str,
        contents: &mut File,
        mode: u32,
        special: SpecialBits,
    ) -> Result<(), FileError> {
        let limit = self.limit;
        let mut too_large = false;
        let written = self.write_with(path, mode, special, &mut |file| {
            let mut piece = vec![0; PIECE];
            let mut whole = 0;
            loop {
                let count = rustix::io::retry_on_intr(|| rustix::io::read(&*contents, piece.as_mut_slice()))?;
                whole += count as u64;
                too_large = whole > limit;
                match count {
                    0 => return Ok(()),
                    _ if too_large => return Err(Errno::FBIG),
                    count => write_all(file, &piece[..count])?,
                }
            }
        });
        match too_large {
            true => Err(FileError::TooLarge { path: path.to_owned(), limit }),
            false => written,
        }
    }

    fn write_with(
        &self,
        path: &str,
        mode: u32,
        special: SpecialBits,
        fill: &mut dyn FnMut(&OwnedFd) -> Result<(), Errno>,
    ) -> Result<(), FileError> {
        let mode = mode_bits(path, mode, special)?;
        let place = self.place_made(path)?;
        let temporary = temporary_name();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&place.parent, &temporary, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| refused(path, errno))?;
        let done =
            fill(&file).and_then(|()| own(file.as_fd())).and_then(|()| rustix::fs::fchmod(&file, mode));
        self.put(place, temporary, done, path)
    }

    /// Makes the directory with exactly `mode`, and its missing parents (0755), all root's. A directory that is there
    /// already stays as it is.
    ///
    /// # Errors
    /// When something else is in the way.
    pub fn make_dir(&self, path: &str, mode: u32) -> Result<(), FileError> {
        check(path)?;
        let mode = mode_bits(path, mode, SpecialBits::Strip)?;
        self.make_dirs(path, mode).map(drop)
    }

    /// Makes a symbolic link with the text `target`, or replaces the file or link at `path` by one, in one step.
    /// Missing parents are made, mode 0755.
    ///
    /// # Errors
    /// When a directory is in the way or the text is empty, has a NUL or is too long.
    pub fn symlink(&self, target: &str, path: &str) -> Result<(), FileError> {
        let place = self.place_made(path)?;
        let temporary = temporary_name();
        rustix::fs::symlinkat(target, &place.parent, &temporary).map_err(|errno| refused(path, errno))?;
        self.put(place, temporary, Ok(()), path)
    }

    /// Renames within the target, replacing a file or link at `to`. A directory that the kernel will not rename (one
    /// from a lower layer of an overlay) is copied and removed instead.
    ///
    /// # Errors
    /// When `from` is not there or `to`'s directory is not.
    pub fn rename(&self, from: &str, to: &str) -> Result<(), FileError> {
        let (source, destination) = (self.place(from)?, self.place(to)?);
        match rustix::fs::renameat(&source.parent, &source.name, &destination.parent, &destination.name) {
            Err(Errno::XDEV) => self.move_directory(&source, destination, from, to),
            Err(Errno::NOENT) => Err(refused(from, Errno::NOENT)),
            done => done.map_err(|errno| refused(to, errno)),
        }
    }

    /// Removes a file, a link or an empty directory.
    ///
    /// # Errors
    /// When it is not there or a directory is not empty.
    pub fn remove(&self, path: &str) -> Result<(), FileError> {
        let place = self.place(path)?;
        let removed = match rustix::fs::unlinkat(&place.parent, &place.name, AtFlags::empty()) {
            Err(Errno::ISDIR) => rustix::fs::unlinkat(&place.parent, &place.name, AtFlags::REMOVEDIR),
            removed => removed,
        };
        removed.map_err(|errno| refused(path, errno))
    }

    /// Removes the entry with everything in it.
    ///
    /// # Errors
    /// When it is not there, or something is mounted below it.
    pub fn remove_all(&self, path: &str) -> Result<(), FileError> {
        let place = self.place(path)?;
        tree_walk::stat_entry(&place.parent, &place.name).map_err(|errno| refused(path, errno))?;
        tree_walk::remove_tree(place.parent.as_fd(), &place.name, Path::new(path)).map_err(
            |error| match error.downcast_ref::<Errno>() {
                Some(errno) => refused(path, *errno),
                None => invalid(path, &error.to_string()),
            },
        )
    }

    /// Empties a regular file; owner, mode and other names of it stay. A link as the last component is not followed.
    ///
    /// # Errors
    /// When it is not there or no regular file.
    pub fn truncate(&self, path: &str) -> Result<(), FileError> {
        check(path)?;
        let entry = self.entry(path)?;
        let stat = rustix::fs::fstat(&entry).map_err(|errno| refused(path, errno))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::RegularFile {
            return Err(FileError::NotRegular { path: path.to_owned(), kind: kind_name(kind) });
        }
        let again = format!("/proc/self/fd/{}", entry.as_raw_fd());
        let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::CLOEXEC;
        rustix::fs::open(again, flags, Mode::empty()).map(drop).map_err(|errno| refused(path, errno))
    }

    /// Sets the mode of the entry itself.
    ///
    /// # Errors
    /// When it is a symbolic link, which has no mode of its own.
    pub fn set_mode(&self, path: &str, mode: u32, special: SpecialBits) -> Result<(), FileError> {
        check(path)?;
        let mode = mode_bits(path, mode, special)?;
        let entry = self.entry(path)?;
        let stat = rustix::fs::fstat(&entry).map_err(|errno| refused(path, errno))?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            return Err(invalid(path, "a symbolic link has no mode"));
        }
        // fchmod refuses an O_PATH descriptor; its link in /proc leads to this very entry.
        rustix::fs::chmodat(CWD, format!("/proc/self/fd/{}", entry.as_raw_fd()), mode, AtFlags::empty())
            .map_err(|errno| refused(path, errno))
    }

    /// Sets the owner of the entry itself, of a link too. Drops setuid and setgid of a file, as chown does.
    ///
    /// # Errors
    /// When it is not there.
    pub fn set_owner(&self, path: &str, uid: u32, gid: u32) -> Result<(), FileError> {
        check(path)?;
        if uid == u32::MAX || gid == u32::MAX {
            return Err(invalid(path, "4294967295 is no owner"));
        }
        let entry = self.entry(path)?;
        let (user, group) = (Uid::from_raw(uid), Gid::from_raw(gid));
        rustix::fs::chownat(&entry, c"", Some(user), Some(group), AtFlags::EMPTY_PATH)
            .map_err(|errno| refused(path, errno))
    }

    fn place_made(&self, path: &str) -> Result<Place, FileError> {
        let (parent, name) = split(path)?;
        let parent = self.make_dirs(parent, Mode::from_raw_mode(0o755)).map_err(|error| match error {
            FileError::NotFound { .. } => FileError::NotFound { path: path.to_owned() },
            error => error,
        })?;
        Ok(Place { parent, name })
    }

    /// Opens the directory `path`, making what is missing: the last with `mode`, those before it with 0755.
    fn make_dirs(&self, path: &str, mode: Mode) -> Result<OwnedFd, FileError> {
        match open(self.root.as_fd(), path, OFlags::PATH | OFlags::DIRECTORY, self.links) {
            Err(Errno::NOENT) => {}
            opened => return opened.map_err(|errno| refused(path, errno)),
        }
        // `resolve` refuses dangling links and `..` among what is missing, so that the rest can be made name by name.
        let real = self.resolve(path)?;
        let parts: Vec<&str> = real.split('/').filter(|part| !part.is_empty()).collect();
        let mut dir = self.at("/", OFlags::PATH | OFlags::DIRECTORY)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for (index, part) in parts.iter().enumerate() {
            let mode = if index + 1 == parts.len() { mode } else { Mode::from_raw_mode(0o755) };
            let fault = |errno| refused(path, errno);
            dir = match rustix::fs::mkdirat(&dir, *part, Mode::RWXU) {
                Ok(()) => {
                    let made = rustix::fs::openat(&dir, *part, flags, Mode::empty()).map_err(fault)?;
                    own(made.as_fd()).and_then(|()| rustix::fs::fchmod(&made, mode)).map_err(fault)?;
                    made
                }
                Err(Errno::EXIST) => rustix::fs::openat(&dir, *part, flags, Mode::empty()).map_err(fault)?,
                Err(errno) => return Err(fault(errno)),
            };
        }
        Ok(dir)
    }

    /// Renames a finished temporary entry into place, or removes it when it was not finished.
    fn put(
        &self,
        place: Place,
        temporary: CString,
        done: Result<(), Errno>,
        path: &str,
    ) -> Result<(), FileError> {
        let put =
            done.and_then(|()| rustix::fs::renameat(&place.parent, &temporary, &place.parent, &place.name));
        put.map_err(|errno| {
            if let Err(left) = rustix::fs::unlinkat(&place.parent, &temporary, AtFlags::empty()) {
                tracing::warn!(path, "temporary file left behind: {left}");
            }
            refused(path, errno)
        })
    }

    fn move_directory(
        &self,
        source: &Place,
        destination: Place,
        from: &str,
        to: &str,
    ) -> Result<(), FileError> {
        let fault = |errno| refused(from, errno);
        // Also refuses files (ENOTDIR): the kernel renames those unless the two places are different file systems.
        let old = tree_walk::open_dir(&source.parent, &source.name).map_err(fault)?;
        let temporary = temporary_name();
        rustix::fs::mkdirat(&destination.parent, &temporary, Mode::RWXU)
            .map_err(|errno| refused(to, errno))?;
        let copied = tree_walk::open_dir(&destination.parent, &temporary)
            .map_err(anyhow::Error::from)
            .and_then(|new| copy_tree::copy_directory(old.as_fd(), new.as_fd(), &[], &mut |_| Ok(())));
        let moved = copied.map_err(|error| invalid(to, &format!("{error:#}"))).and_then(|_| {
            rustix::fs::renameat(&destination.parent, &temporary, &destination.parent, &destination.name)
                .map_err(|errno| refused(to, errno))
        });
        let (leftover, place) = match &moved {
            Ok(()) => (source.name.as_c_str(), source.parent.as_fd()),
            Err(_) => (temporary.as_c_str(), destination.parent.as_fd()),
        };
        let removed = tree_walk::remove_tree(place, leftover, Path::new(from));
        moved.and_then(|()| removed.map_err(|error| invalid(from, &format!("{error:#}"))))
    }
}

fn mode_bits(path: &str, mode: u32, special: SpecialBits) -> Result<Mode, FileError> {
    if mode > 0o7777 {
        return Err(invalid(path, &format!("{mode:#o} is no mode")));
    }
    Ok(Mode::from_raw_mode(match special {
        SpecialBits::Strip => mode & 0o777,
        SpecialBits::Keep => mode,
    }))
}

/// A setgid directory would have given its own group.
fn own(file: BorrowedFd<'_>) -> Result<(), Errno> {
    if rustix::process::geteuid().is_root() {
        rustix::fs::fchown(file, Some(Uid::ROOT), Some(Gid::ROOT))?;
    }
    Ok(())
}

fn write_all(file: &OwnedFd, mut contents: &[u8]) -> Result<(), Errno> {
    while !contents.is_empty() {
        let count = rustix::io::retry_on_intr(|| rustix::io::write(file, contents))?;
        contents = &contents[count..];
    }
    Ok(())
}

/// A name that no other operation of this process uses.
fn temporary_name() -> CString {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    CString::new(format!(".dibw-{}-{number}", std::process::id())).expect("numbers have no NUL")
}
