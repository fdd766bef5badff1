//! Owns finding a path's place below a directory, as if that directory were `/`, and the typed errors of target files.
//! Must not read or change any file. Called by `target_files` and `target_changes`; the engine reads the errors.
//!
//! The kernel resolves (`openat2` with `RESOLVE_IN_ROOT`): absolute links and `..` stay inside, the links of /proc that
//! lead anywhere are refused, and it holds while other processes rename things.

use std::ffi::CString;
use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Longest path, in bytes, without the NUL that `PATH_MAX` counts.
pub(crate) const LONGEST_PATH: usize = 4095;
/// `openat2` answers `EAGAIN` when a rename anywhere raced with a `..`; each costs one try.
const RESOLVE_TRIES: u32 = 128;

/// Why a file operation in the target was not done.
#[derive(Debug)]
pub enum FileError {
    /// There is no such entry.
    NotFound {
        /// The path as asked for.
        path: String,
    },
    /// The entry is not a regular file.
    NotRegular {
        /// The path as asked for.
        path: String,
        /// What it is: `dir`, `fifo`, ...
        kind: &'static str,
    },
    /// More bytes than the limit.
    TooLarge {
        /// The path as asked for.
        path: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// The request makes no sense, or would lead out of the target.
    Invalid {
        /// The path as asked for.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The kernel refused for another reason.
    Io {
        /// The path as asked for.
        path: String,
        /// The kernel's answer.
        error: std::io::Error,
    },
}

impl fmt::Display for FileError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileError::NotFound { path } => write!(formatter, "{path:?}: no such file or directory"),
            FileError::NotRegular { path, kind } => {
                write!(formatter, "{path:?}: not a regular file but a {kind}")
            }
            FileError::TooLarge { path, limit } => write!(formatter, "{path:?}: more than {limit} bytes"),
            FileError::Invalid { path, reason } => write!(formatter, "{path:?}: {reason}"),
            FileError::Io { path, error } => write!(formatter, "{path:?}: {error}"),
        }
    }
}

impl std::error::Error for FileError {}

/// Makes the error for an answer of the kernel.
pub(crate) fn refused(path: &str, errno: Errno) -> FileError {
    let path = path.to_owned();
    let invalid = |path, reason: &str| FileError::Invalid { path, reason: reason.to_owned() };
    match errno {
        Errno::NOENT => FileError::NotFound { path },
        Errno::NAMETOOLONG => invalid(path, "name too long"),
        Errno::LOOP => invalid(path, "a link there may not be followed, or too many links"),
        Errno::NOTDIR => invalid(path, "not a directory"),
        Errno::ISDIR => invalid(path, "is a directory"),
        Errno::EXIST => invalid(path, "exists already"),
        Errno::NOTEMPTY => invalid(path, "directory not empty"),
        Errno::XDEV => invalid(path, "leads to another file system"),
        Errno::INVAL => invalid(path, "not possible for this kind of file"),
        errno => FileError::Io { path, error: errno.into() },
    }
}

pub(crate) fn invalid(path: &str, reason: &str) -> FileError {
    FileError::Invalid { path: path.to_owned(), reason: reason.to_owned() }
}

/// Refuses what no path of the target can be. Everything else the kernel judges.
pub(crate) fn check(path: &str) -> Result<(), FileError> {
    if !path.starts_with('/') {
        return Err(invalid(path, "not an absolute path"));
    }
    if path.contains('\0') {
        return Err(invalid(path, "has a NUL byte"));
    }
    if path.len() > LONGEST_PATH {
        // Shown shortened: the message goes to logs.
        let mut end = 64;
        while !path.is_char_boundary(end) {
            end -= 1;
        }
        return Err(invalid(&format!("{}...", &path[..end]), "path too long"));
    }
    Ok(())
}

/// Whether symbolic links on the way are followed (inside the root) or refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    Follow,
    Refuse,
}

/// Opens `path` below `root`.
pub(crate) fn open(root: BorrowedFd<'_>, path: &str, flags: OFlags, links: Links) -> Result<OwnedFd, Errno> {
    let mut resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    if links == Links::Refuse {
        resolve |= ResolveFlags::NO_SYMLINKS;
    }
    let mut tries = 0;
    loop {
        match rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) if tries < RESOLVE_TRIES => tries += 1,
            answer => return answer,
        }
    }
}

/// The directory that holds the last component, and that component.
pub(crate) fn split(path: &str) -> Result<(&str, CString), FileError> {
    check(path)?;
    let (parent, name) =
        path.trim_end_matches('/').rsplit_once('/').ok_or_else(|| invalid(path, "is the root"))?;
    if matches!(name, "" | "." | "..") {
        return Err(invalid(path, "does not end with a name"));
    }
    let name = CString::new(name).expect("check() found no NUL");
    Ok((if parent.is_empty() { "/" } else { parent }, name))
}

/// Where an open directory or file is, as an absolute path below `root`.
pub(crate) fn path_of(root: BorrowedFd<'_>, file: BorrowedFd<'_>, asked: &str) -> Result<String, FileError> {
    let link = |fd: BorrowedFd<'_>| {
        let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
        rustix::fs::readlinkat(CWD, link, Vec::new()).map_err(|errno| refused(asked, errno))
    };
    let (top, place) = (link(root)?, link(file)?);
    let top = top.to_bytes().strip_suffix(b"/").unwrap_or(top.to_bytes());
    let below = place.to_bytes().strip_prefix(top).filter(|rest| rest.is_empty() || rest.starts_with(b"/"));
    let below = below.ok_or_else(|| invalid(asked, "leads out of the target"))?;
    let below =
        std::str::from_utf8(below).map_err(|_| invalid(asked, "leads to a name that is not UTF-8"))?;
    let path = if below.is_empty() { "/" } else { below };
    // The kernel's text is ambiguous for removed directories (` (deleted)`): only what leads back is believed.
    let again = open(root, path, OFlags::PATH | OFlags::NOFOLLOW, Links::Refuse);
    let same = |again: OwnedFd| {
        let (one, other) = (rustix::fs::fstat(file)?, rustix::fs::fstat(&again)?);
        Ok::<bool, Errno>((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
    };
    match again.and_then(same) {
        Ok(true) => Ok(path.to_owned()),
        Ok(false) | Err(_) => Err(invalid(asked, "was moved or removed meanwhile")),
    }
}
