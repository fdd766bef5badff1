//! A directory tree as a tar stream, the same bytes for the same tree.
//!
//! Owns the walk: order, hard links, what is left out. Must not know what is in the tree, trusts nothing in it,
//! and follows no link. Called by the engine on a finished target, with a writer that may compress.
//!
//! The tree must not change meanwhile; where it does, the walk fails or writes what it saw, but never leaves the
//! tree. Reading the extended attributes of links and special files needs `/proc`.

mod attributes;
pub(crate) mod header;

use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::vec::IntoIter;

use anyhow::{Context, Result, bail};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat};

use self::header::{Entry, Kind};

/// Bytes that tar writes at once (20 blocks of 512, the default of every tar since the tape drive).
pub(crate) const RECORD: u64 = 10_240;

/// What to write of a tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TarOptions {
    /// Names of directories right below the root that are written without what is in them.
    pub emptied: Vec<OsString>,
    /// Paths below the root, like `boot/lost+found`, that are left out with all that is in them.
    pub omitted: Vec<PathBuf>,
    /// What stands before every path, in place of `.`; without a slash at its end.
    pub prefix: Option<String>,
    /// Files that follow the tree, beside the prefix and not below it: name and content.
    pub appended: Vec<(String, Vec<u8>)>,
    /// No modification time is later than this, in seconds since 1970 (`SOURCE_DATE_EPOCH`).
    pub latest_mtime: Option<u64>,
}

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Entries of all kinds, hard links included.
    pub entries: u64,
    /// Bytes of file content.
    pub content_bytes: u64,
    /// Bytes of the whole stream.
    pub stream_bytes: u64,
    /// Sockets, which no tar can hold and which are left out.
    pub skipped_sockets: u64,
}

/// Writes all below the directory `root` (`O_PATH` is enough), and `root` itself as `./` (or the prefix).
///
/// Names are sorted by their bytes in every directory; owners are numbers; times are whole seconds; the extended
/// attributes are all there are but the overlay file system's own. Sparse files are written out in full.
///
/// # Errors
/// When anything in the tree cannot be read, or writing fails.
pub fn write_tree(root: impl AsFd, out: &mut dyn Write, options: &TarOptions) -> Result<Stats> {
    let mut stream = Stream {
        out: BufWriter::with_capacity(256 << 10, out),
        options,
        links: HashMap::new(),
        buffer: vec![0; 256 << 10],
        stats: Stats::default(),
    };
    let prefix = format!("{}/", options.prefix.as_deref().unwrap_or(".")).into_bytes();
    let omitted: HashSet<Vec<u8>> =
        options.omitted.iter().map(|path| [&prefix[..], path.as_os_str().as_bytes()].concat()).collect();
    let top = open_directory(root.as_fd(), c".").context("cannot open the root of the tree")?;
    stream.directory(&top, &prefix)?;
    let mut levels = vec![Level::read(top, prefix)?];
    // A stack of our own: the depth of the tree is not ours to trust.
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.names.next() else {
            levels.pop();
            continue;
        };
        let path = [&level.path[..], name.to_bytes()].concat();
        if omitted.contains(&path) {
            continue;
        }
        let below = stream.entry(level, &name, path)?;
        if let Some((directory, path)) = below {
            if levels.len() == 1
                && options.emptied.iter().any(|emptied| emptied.as_bytes() == name.to_bytes())
            {
                continue;
            }
            levels.push(Level::read(directory, path)?);
        }
    }
    for (name, content) in &options.appended {
        stream.made_file(name, content)?;
    }
    stream.finish()
}

/// A directory that is being walked.
struct Level {
    directory: OwnedFd,
    /// With a slash at its end.
    path: Vec<u8>,
    /// What is left to do.
    names: IntoIter<CString>,
}

impl Level {
    fn read(directory: OwnedFd, path: Vec<u8>) -> Result<Self> {
        let read = || -> rustix::io::Result<Vec<CString>> {
            let mut names = Vec::new();
            for entry in Dir::read_from(&directory)? {
                let entry = entry?;
                if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                    names.push(entry.file_name().to_owned());
                }
            }
            names.sort_unstable();
            Ok(names)
        };
        let names = read().with_context(|| format!("cannot list {}", shown(&path)))?.into_iter();
        Ok(Level { directory, path, names })
    }
}

/// The archive under construction.
struct Stream<'a> {
    out: BufWriter<&'a mut dyn Write>,
    options: &'a TarOptions,
    /// Device and inode of files with several names, and the first name.
    links: HashMap<(u64, u64), Vec<u8>>,
    buffer: Vec<u8>,
    stats: Stats,
}

impl Stream<'_> {
    /// Writes what has the name `name` in `level`. Gives a directory back, opened, with its path.
    fn entry(&mut self, level: &Level, name: &CStr, path: Vec<u8>) -> Result<Option<(OwnedFd, Vec<u8>)>> {
        let parent = level.directory.as_fd();
        let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
            .with_context(|| format!("cannot read the attributes of {}", shown(&path)))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            let directory =
                open_directory(parent, name).with_context(|| format!("cannot open {}", shown(&path)))?;
            let path = [&path[..], b"/"].concat();
            self.directory(&directory, &path)?;
            return Ok(Some((directory, path)));
        }
        if kind == FileType::Socket {
            self.stats.skipped_sockets += 1;
            return Ok(None);
        }
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                let mut entry = self.describe(&path, Kind::HardLink, &stat);
                entry.link.clone_from(first);
                self.header(&entry)?;
                return Ok(None);
            }
            self.links.insert((stat.st_dev, stat.st_ino), path.clone());
        }
        match kind {
            FileType::RegularFile => self.file(parent, name, &path)?,
            FileType::Symlink => {
                let mut entry = self.describe(&path, Kind::Symlink, &stat);
                entry.link = readlinkat(parent, name, Vec::new())
                    .with_context(|| format!("cannot read the link {}", shown(&path)))?
                    .into_bytes();
                self.special(parent, name, entry)?;
            }
            FileType::CharacterDevice => {
                self.special(parent, name, self.describe(&path, Kind::CharacterDevice, &stat))?;
            }
            FileType::BlockDevice => {
                self.special(parent, name, self.describe(&path, Kind::BlockDevice, &stat))?;
            }
            FileType::Fifo => self.special(parent, name, self.describe(&path, Kind::Fifo, &stat))?,
            _ => bail!("{} is of a kind that tar does not know", shown(&path)),
        }
        Ok(None)
    }

    fn describe(&self, path: &[u8], kind: Kind, stat: &Stat) -> Entry {
        let latest =
            self.options.latest_mtime.and_then(|latest| i64::try_from(latest).ok()).unwrap_or(i64::MAX);
        Entry {
            path: path.to_vec(),
            kind,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: 0,
            mtime: stat.st_mtime.min(latest),
            link: Vec::new(),
            device: (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)),
            attributes: Vec::new(),
        }
    }

    fn directory(&mut self, directory: &OwnedFd, path: &[u8]) -> Result<()> {
        let stat =
            fstat(directory).with_context(|| format!("cannot read the attributes of {}", shown(path)))?;
        let mut entry = self.describe(path, Kind::Directory, &stat);
        entry.attributes = attributes::of_open(directory.as_fd())
            .with_context(|| format!("cannot read the extended attributes of {}", shown(path)))?;
        self.header(&entry)
    }

    fn special(&mut self, parent: BorrowedFd<'_>, name: &CStr, mut entry: Entry) -> Result<()> {
        entry.attributes = attributes::of_name(parent, name)
            .with_context(|| format!("cannot read the extended attributes of {}", shown(&entry.path)))?;
        self.header(&entry)
    }

    fn file(&mut self, parent: BorrowedFd<'_>, name: &CStr, path: &[u8]) -> Result<()> {
        // NONBLOCK in case it became a fifo since it was looked at; fstat then finds out.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(parent, name, flags, Mode::empty())
            .with_context(|| format!("cannot open {}", shown(path)))?;
        let stat = fstat(&file).with_context(|| format!("cannot read the attributes of {}", shown(path)))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            bail!("{} changed while it was read", shown(path));
        }
        let mut entry = self.describe(path, Kind::File, &stat);
        entry.size = u64::try_from(stat.st_size).unwrap_or(0);
        entry.attributes = attributes::of_open(file.as_fd())
            .with_context(|| format!("cannot read the extended attributes of {}", shown(path)))?;
        self.header(&entry)?;
        self.content(File::from(file), entry.size, path)
    }

    /// Copies exactly `size` bytes, which the header has promised, and fills the last block.
    fn content(&mut self, mut file: File, size: u64, path: &[u8]) -> Result<()> {
        let mut left = size;
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            let read = match file.read(&mut self.buffer[..wanted]) {
                Ok(0) => bail!("{} became shorter while it was read", shown(path)),
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).with_context(|| format!("cannot read {}", shown(path))),
            };
            self.out.write_all(&self.buffer[..read]).context("cannot write the tar stream")?;
            left -= read as u64;
        }
        self.stats.content_bytes += size;
        self.stats.stream_bytes += size;
        self.zeros(size.next_multiple_of(512) - size)
    }

    /// A file that is in no tree.
    fn made_file(&mut self, name: &str, content: &[u8]) -> Result<()> {
        let mut entry = Entry::file(name, content.len() as u64);
        entry.mtime = self.options.latest_mtime.and_then(|latest| i64::try_from(latest).ok()).unwrap_or(0);
        self.header(&entry)?;
        self.out.write_all(content).context("cannot write the tar stream")?;
        self.stats.content_bytes += entry.size;
        self.stats.stream_bytes += entry.size;
        self.zeros(entry.size.next_multiple_of(512) - entry.size)
    }

    fn header(&mut self, entry: &Entry) -> Result<()> {
        let blocks = entry.blocks().with_context(|| format!("cannot describe {}", shown(&entry.path)))?;
        self.out.write_all(&blocks).context("cannot write the tar stream")?;
        self.stats.entries += 1;
        self.stats.stream_bytes += blocks.len() as u64;
        Ok(())
    }

    /// Writes `count` zero bytes, a record at most.
    fn zeros(&mut self, count: u64) -> Result<()> {
        std::io::copy(&mut std::io::repeat(0).take(count), &mut self.out)
            .context("cannot write the tar stream")?;
        self.stats.stream_bytes += count;
        Ok(())
    }

    /// Ends the archive: two zero blocks, then zeros to a whole record.
    fn finish(mut self) -> Result<Stats> {
        let end = (self.stats.stream_bytes + 1024).next_multiple_of(RECORD);
        self.zeros(end - self.stats.stream_bytes)?;
        self.out.flush().context("cannot write the tar stream")?;
        Ok(self.stats)
    }
}

fn open_directory(parent: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

/// A path for a message, whatever bytes it has.
fn shown(path: &[u8]) -> std::path::Display<'_> {
    std::path::Path::new(OsStr::from_bytes(path)).display()
}
