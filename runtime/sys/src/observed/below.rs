//! Owns reaching what lies below a directory: component by component, never along a symbolic link.
//! Must not know who asks. Called by the rest of `observed`.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::raw_name::RawName;
use crate::tree_walk;

/// Longest piece of a path that is given to the kernel at once, which takes less than 4096 bytes.
const PIECE: usize = 3000;
/// What a name and a value of an attribute take at most, in the kernel.
const LARGEST_XATTR: usize = 65_536;

/// A directory that is the root of the paths given to it.
#[derive(Debug)]
pub(super) struct Below(OwnedFd);

/// An open entry, whatever it is, that can be asked but not read.
pub(super) struct Entry(OwnedFd);

/// One line of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub name: CString,
    pub kind: FileType,
    pub inode: u64,
}

impl Below {
    pub fn new(root: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(root, flags, Mode::empty())
            .with_context(|| format!("open {}", root.display()))?;
        Ok(Self(root))
    }

    pub fn root(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// The entry at `path`; a link is the link itself.
    pub fn entry(&self, path: &RawName) -> Result<Entry, Errno> {
        self.open(path, OFlags::PATH).map(Entry)
    }

    /// Opens a regular file for reading. (Were it a fifo, it would not wait for a writer.)
    pub fn file(&self, path: &RawName) -> Result<OwnedFd, Errno> {
        self.open(path, OFlags::RDONLY | OFlags::NONBLOCK)
    }

    /// The entries of a directory but `.` and `..`, sorted bytewise.
    pub fn listing(&self, path: &RawName) -> Result<Vec<Listed>, Errno> {
        let dir = self.open(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut entries = Vec::new();
        for entry in rustix::fs::Dir::read_from(&dir)? {
            let entry = entry?;
            let name = entry.file_name().to_owned();
            if name.as_c_str() == c"." || name.as_c_str() == c".." {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => FileType::from_raw_mode(tree_walk::stat_entry(&dir, &name)?.st_mode),
                known => known,
            };
            entries.push(Listed { name, kind, inode: entry.ino() });
        }
        entries.sort_unstable_by(|left, right| left.name.cmp(&right.name));
        Ok(entries)
    }

    fn open(&self, path: &RawName, flags: OFlags) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let open = |dir: BorrowedFd<'_>, path: &[u8], flags: OFlags| {
            let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::io::retry_on_intr(|| rustix::fs::openat2(dir, path, flags, Mode::empty(), resolve))
        };
        let mut rest = path.bytes().strip_prefix(b"/").unwrap_or(path.bytes());
        if rest.is_empty() {
            rest = b".";
        }
        let mut dir = None;
        while rest.len() > PIECE {
            let Some(end) = rest[..PIECE].iter().rposition(|byte| *byte == b'/') else { break };
            let from = dir.as_ref().map_or(self.root(), OwnedFd::as_fd);
            let next = open(from, &rest[..end], OFlags::PATH | OFlags::DIRECTORY)?;
            dir = Some(next);
            rest = &rest[end + 1..];
        }
        open(dir.as_ref().map_or(self.root(), OwnedFd::as_fd), rest, flags)
    }
}

impl Entry {
    pub fn stat(&self) -> Result<Stat, Errno> {
        rustix::fs::fstat(&self.0)
    }

    /// The text of a link.
    pub fn link_text(&self) -> Result<RawName, Errno> {
        rustix::fs::readlinkat(&self.0, "", Vec::new()).map(|text| RawName::from(text.to_bytes()))
    }

    /// The value of an attribute; none when there is none.
    pub fn attribute(&self, name: &RawName) -> Result<Option<Vec<u8>>, Errno> {
        let mut value = vec![0; LARGEST_XATTR];
        // Followed, the link of /proc leads to the entry itself, even to a link.
        match rustix::fs::getxattr(self.proc_path(), name.bytes(), &mut value[..]) {
            Ok(length) => {
                value.truncate(length);
                Ok(Some(value))
            }
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// The names of the attributes, sorted.
    pub fn attribute_names(&self) -> Result<Vec<RawName>, Errno> {
        let mut list = vec![0; LARGEST_XATTR];
        let length = match rustix::fs::listxattr(self.proc_path(), &mut list[..]) {
            Err(Errno::OPNOTSUPP) => 0,
            length => length?,
        };
        let names = list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
        let mut names: Vec<RawName> = names.map(RawName::from).filter(|name| !name.is_of_overlay()).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn proc_path(&self) -> String {
        format!("/proc/self/fd/{}", self.0.as_raw_fd())
    }
}
