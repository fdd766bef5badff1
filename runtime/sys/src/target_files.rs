//! Owns finding and reading what is below the target's root directory, on behalf of typed elements.
//! Must not know policies or elements. Called by the engine, which lends it to the host as the `target-fs` interface;
//! `target_changes` adds the operations that change something.
//!
//! Paths are absolute in the target, resolved by the kernel below a directory descriptor (`in_root`). Files are opened
//! for reading only once they are known to be regular, so that no device or fifo is ever opened. Reading and listing
//! follow the last component; `stat`, `read_link` and all changes do not.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::Context;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

pub use crate::in_root::FileError;
use crate::in_root::{Links, check, invalid, open, path_of, refused, split};
pub use crate::target_changes::SpecialBits;
use crate::tree_walk;

/// Most bytes that are read or written at once unless the caller says otherwise.
pub const DEFAULT_LIMIT: u64 = 16 << 20;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStat {
    /// The kind of entry; [`kind_name`] has the names of the interface.
    pub kind: FileType,
    /// Permission bits with setuid, setgid and sticky (0 to 0o7777).
    pub mode: u32,
    /// Owner in the target.
    pub uid: u32,
    /// Group in the target.
    pub gid: u32,
    /// Bytes; of a link, of its text.
    pub size: u64,
}

/// The name of a kind in the `target-fs` interface.
pub fn kind_name(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "file",
        FileType::Directory => "dir",
        FileType::Symlink => "symlink",
        FileType::CharacterDevice => "char",
        FileType::BlockDevice => "block",
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
        FileType::Unknown => "unknown",
    }
}

/// The target's root directory.
#[derive(Debug)]
pub struct TargetRoot {
    pub(crate) root: OwnedFd,
    pub(crate) links: Links,
    pub(crate) limit: u64,
}

/// A last component and the open directory that holds it.
pub(crate) struct Place {
    pub(crate) parent: OwnedFd,
    pub(crate) name: CString,
}

impl TargetRoot {
    /// Opens the directory that is to be `/`, with a limit of 16 MiB a file.
    ///
    /// # Errors
    /// When it is not a directory.
    pub fn open(dir: &Path) -> anyhow::Result<TargetRoot> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(dir, flags, Mode::empty()).with_context(|| dir.display().to_string())?;
        Ok(TargetRoot { root, links: Links::Follow, limit: DEFAULT_LIMIT })
    }

    /// The same with another limit, in bytes, for reads and writes.
    #[must_use]
    pub fn with_limit(self, limit: u64) -> TargetRoot {
        TargetRoot { limit, ..self }
    }

    /// The same root for paths that [`TargetRoot::resolve`] returned: links on the way are refused. What a policy
    /// allowed for a resolved path can then not land elsewhere, whatever is renamed in between.
    ///
    /// # Errors
    /// When descriptors run out.
    pub fn refusing_links(&self) -> std::io::Result<TargetRoot> {
        Ok(TargetRoot { root: self.root.try_clone()?, links: Links::Refuse, limit: self.limit })
    }

    /// Where an operation that does not follow the last component really lands: its parent directory resolved, as an
    /// absolute path in the target. Parents that do not exist yet stay as they are written, but may not contain `..`.
    ///
    /// # Errors
    /// When the path cannot be resolved inside the target or goes through something that is no directory.
    pub fn resolve(&self, path: &str) -> Result<String, FileError> {
        check(path)?;
        if path.split('/').all(str::is_empty) {
            return Ok("/".to_owned());
        }
        let (parent, name) = split(path)?;
        let name = name.to_str().expect("it comes from a str");
        let parts: Vec<&str> = parent.split('/').filter(|part| !part.is_empty()).collect();
        for existing in (0..=parts.len()).rev() {
            let (head, missing) = parts.split_at(existing);
            let head = format!("/{}", head.join("/"));
            match open(self.root.as_fd(), &head, OFlags::PATH | OFlags::DIRECTORY, self.links) {
                Ok(dir) => {
                    if missing.iter().any(|part| matches!(*part, "." | "..")) {
                        return Err(FileError::NotFound { path: path.to_owned() });
                    }
                    if let Some(first) = missing.first()
                        && rustix::fs::statat(&dir, *first, AtFlags::SYMLINK_NOFOLLOW).is_ok()
                    {
                        return Err(invalid(path, "goes through a dangling link"));
                    }
                    let start = path_of(self.root.as_fd(), dir.as_fd(), path)?;
                    let rest = missing.iter().copied().chain([name]).collect::<Vec<_>>().join("/");
                    return Ok(format!("{}/{rest}", start.trim_end_matches('/')));
                }
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(refused(path, errno)),
            }
        }
        Err(refused(path, Errno::NOENT))
    }

    /// The path of an existing entry with every link followed: what reading or listing `path` really reads.
    ///
    /// # Errors
    /// When there is no such entry or it cannot be resolved inside the target.
    pub fn resolve_following(&self, path: &str) -> Result<String, FileError> {
        check(path)?;
        let file = self.at(path, OFlags::PATH)?;
        path_of(self.root.as_fd(), file.as_fd(), path)
    }

    /// The bytes of a regular file from `offset`: at most `length`, and at most the limit.
    ///
    /// # Errors
    /// [`FileError::NotRegular`] without opening anything else.
    pub fn read(&self, path: &str, offset: u64, length: u64) -> Result<Vec<u8>, FileError> {
        let (file, size) = self.open_regular(path)?;
        let most = usize::try_from(length.min(self.limit)).unwrap_or(usize::MAX);
        let likely = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX).min(most);
        let mut bytes = vec![0; likely];
        let mut filled = 0;
        while filled < likely {
            let at = offset.checked_add(filled as u64).ok_or_else(|| invalid(path, "offset too large"))?;
            match rustix::io::retry_on_intr(|| rustix::io::pread(&file, &mut bytes[filled..], at)) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(errno) => return Err(refused(path, errno)),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    /// All bytes of a regular file.
    ///
    /// # Errors
    /// As [`TargetRoot::read`], and [`FileError::TooLarge`] beyond the limit.
    pub fn read_whole(&self, path: &str) -> Result<Vec<u8>, FileError> {
        let (_, size) = self.open_regular(path)?;
        if size > self.limit {
            return Err(FileError::TooLarge { path: path.to_owned(), limit: self.limit });
        }
        self.read(path, 0, size)
    }

    /// The text of a symbolic link.
    ///
    /// # Errors
    /// When it is not a link, or not UTF-8.
    pub fn read_link(&self, path: &str) -> Result<String, FileError> {
        let place = self.place(path)?;
        let text =
            rustix::fs::readlinkat(&place.parent, &place.name, Vec::new()).map_err(|errno| match errno {
                Errno::INVAL => invalid(path, "not a symbolic link"),
                errno => refused(path, errno),
            })?;
        text.into_string().map_err(|_| invalid(path, "the link's text is not UTF-8"))
    }

    /// Of the entry itself; none when there is no such entry.
    ///
    /// # Errors
    /// When the path cannot be resolved inside the target.
    pub fn stat(&self, path: &str) -> Result<Option<FileStat>, FileError> {
        check(path)?;
        let entry = match self.entry(path) {
            Err(FileError::NotFound { .. }) => return Ok(None),
            entry => entry?,
        };
        rustix::fs::fstat(&entry).map(|stat| Some(file_stat(&stat))).map_err(|errno| refused(path, errno))
    }

    /// Names in a directory, sorted bytewise; names that are not UTF-8 are left out.
    ///
    /// # Errors
    /// When it is not a directory.
    pub fn list_dir(&self, path: &str) -> Result<Vec<String>, FileError> {
        check(path)?;
        let dir = self.at(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let entries = tree_walk::sorted_entries(&dir).map_err(|errno| refused(path, errno))?;
        Ok(entries.into_iter().filter_map(|(name, _)| name.into_string().ok()).collect())
    }

    /// Calls `visit` for every entry below the directory `path`, sorted, a directory before what is in it. Links are
    /// not followed, mounts not entered, names that are not UTF-8 left out.
    ///
    /// # Errors
    /// Those of `visit`, which end the walk, and when a directory cannot be read.
    pub fn walk(
        &self,
        path: &str,
        visit: &mut dyn FnMut(&str, &FileStat) -> Result<(), FileError>,
    ) -> Result<(), FileError> {
        check(path)?;
        let dir = self.at(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        walk_dir(dir.as_fd(), path.trim_end_matches('/'), 0, visit)
    }

    pub(crate) fn at(&self, path: &str, flags: OFlags) -> Result<OwnedFd, FileError> {
        open(self.root.as_fd(), path, flags, self.links).map_err(|errno| refused(path, errno))
    }

    /// The entry itself, a link not followed (not even for a slash after its name), without opening it for anything.
    pub(crate) fn entry(&self, path: &str) -> Result<OwnedFd, FileError> {
        if path.split('/').all(str::is_empty) {
            return self.at("/", OFlags::PATH | OFlags::DIRECTORY);
        }
        let place = self.place(path)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&place.parent, &place.name, flags, Mode::empty())
            .map_err(|errno| refused(path, errno))
    }

    pub(crate) fn place(&self, path: &str) -> Result<Place, FileError> {
        let (parent, name) = split(path)?;
        let parent = open(self.root.as_fd(), parent, OFlags::PATH | OFlags::DIRECTORY, self.links)
            .map_err(|errno| refused(path, errno))?;
        Ok(Place { parent, name })
    }

    /// Opens a regular file for reading, with its size.
    fn open_regular(&self, path: &str) -> Result<(OwnedFd, u64), FileError> {
        check(path)?;
        let entry = self.at(path, OFlags::PATH)?;
        let stat = file_stat(&rustix::fs::fstat(&entry).map_err(|errno| refused(path, errno))?);
        if stat.kind != FileType::RegularFile {
            return Err(FileError::NotRegular { path: path.to_owned(), kind: kind_name(stat.kind) });
        }
        let again = format!("/proc/self/fd/{}", entry.as_raw_fd());
        let file =
            rustix::fs::open(again, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
                .map_err(|errno| refused(path, errno))?;
        Ok((file, stat.size))
    }
}

fn walk_dir(
    dir: BorrowedFd<'_>,
    path: &str,
    depth: usize,
    visit: &mut dyn FnMut(&str, &FileStat) -> Result<(), FileError>,
) -> Result<(), FileError> {
    if depth > tree_walk::DEEPEST {
        return Err(invalid(path, "too many directories deep"));
    }
    for (name, _) in tree_walk::sorted_entries(dir).map_err(|errno| refused(path, errno))? {
        let Ok(plain) = name.to_str() else { continue };
        let below = format!("{path}/{plain}");
        let stat = file_stat(&tree_walk::stat_entry(dir, &name).map_err(|errno| refused(&below, errno))?);
        visit(&below, &stat)?;
        if stat.kind == FileType::Directory {
            match tree_walk::open_dir(dir, &name) {
                Ok(child) => walk_dir(child.as_fd(), &below, depth + 1, visit)?,
                Err(Errno::XDEV) => {}
                Err(errno) => return Err(refused(&below, errno)),
            }
        }
    }
    Ok(())
}

fn file_stat(stat: &rustix::fs::Stat) -> FileStat {
    FileStat {
        kind: FileType::from_raw_mode(stat.st_mode),
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: u64::try_from(stat.st_size).unwrap_or(0),
    }
}
