//! What a tree holds: one entry per path, with all that a file system can say of it. Reads and follows no link.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{lgetxattr, llistxattr, major, minor};
use rustix::io::Errno;

use super::initrd;

/// The bytes of a file: where they are, or themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A file that is read when it is compared.
    At(PathBuf),
    /// In memory.
    Bytes(Vec<u8>),
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File(Content),
    /// An initial ramdisk, whose members are entries of their own.
    Ramdisk,
    /// A symbolic link, with its text.
    Link(String),
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// Not a file: something known of the disk.
    Fact(String),
}

impl Kind {
    /// Its name for people.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::File(_) => "file",
            Self::Ramdisk => "initial ramdisk",
            Self::Link(_) => "link",
            Self::CharacterDevice => "character device",
            Self::BlockDevice => "block device",
            Self::Fifo => "fifo",
            Self::Socket => "socket",
            Self::Fact(_) => "fact",
        }
    }
}

/// One path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// The user's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// Major and minor number of a device, else zeros.
    pub device: (u32, u32),
    /// The first path that is the same file, when there are several.
    pub same_as: Option<String>,
    /// Extended attributes.
    pub attributes: BTreeMap<String, Vec<u8>>,
}

impl Entry {
    /// One of this kind, of root, with mode 0.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        let attributes = BTreeMap::new();
        Self { kind, mode: 0, uid: 0, gid: 0, device: (0, 0), same_as: None, attributes }
    }

    /// For people.
    #[must_use]
    pub fn summary(&self) -> String {
        match &self.kind {
            Kind::Fact(text) => text.clone(),
            Kind::Link(text) => format!("link to {text}"),
            kind => format!("{} {:04o} {}:{}", kind.name(), self.mode, self.uid, self.gid),
        }
    }

    /// The extended attributes for people.
    #[must_use]
    pub fn attributes_shown(&self) -> String {
        let hexadecimal = |value: &[u8]| value.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let pairs = self.attributes.iter().map(|(name, value)| format!("{name}={}", hexadecimal(value)));
        format!("[{}]", pairs.collect::<Vec<_>>().join(" "))
    }
}

/// The entries of an image.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    /// By path.
    pub entries: BTreeMap<String, Entry>,
}

impl Inventory {
    /// Adds a fact about the disk.
    pub fn fact(&mut self, path: impl Into<String>, text: impl Into<String>) {
        self.entries.insert(path.into(), Entry::new(Kind::Fact(text.into())));
    }

    /// Adds what is in a directory, with `prefix` before each path.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn add_tree(&mut self, directory: &Path, prefix: &str) -> Result<()> {
        let mut files: HashMap<(u64, u64), Vec<String>> = HashMap::new();
        let mut waiting = vec![(directory.to_owned(), prefix.to_owned())];
        while let Some((place, path)) = waiting.pop() {
            let metadata = place.symlink_metadata().with_context(|| place.display().to_string())?;
            if metadata.is_dir() {
                let children = fs::read_dir(&place).with_context(|| place.display().to_string())?;
                for child in children {
                    let child = child.with_context(|| place.display().to_string())?;
                    waiting.push((child.path(), format!("{path}/{}", child.file_name().to_string_lossy())));
                }
            } else if metadata.nlink() > 1 {
                files.entry((metadata.dev(), metadata.ino())).or_default().push(path.clone());
            }
            let entry = entry(&place, &metadata)?;
            self.add_entry(if path.is_empty() { "/".to_owned() } else { path }, entry)?;
        }
        for mut same in files.into_values() {
            same.sort();
            for path in &same {
                if let Some(entry) = self.entries.get_mut(path) {
                    entry.same_as = same.first().cloned();
                }
            }
        }
        Ok(())
    }

    /// An initial ramdisk is replaced by its members when it can be unpacked.
    fn add_entry(&mut self, path: String, mut entry: Entry) -> Result<()> {
        if let Kind::File(Content::At(place)) = &entry.kind
            && initrd::is_called_so(&path)
            && let Some(members) = initrd::members(place)?
        {
            entry.kind = Kind::Ramdisk;
            for (member, of_it) in members {
                self.entries.insert(format!("{path}!/{member}"), of_it);
            }
        }
        self.entries.insert(path, entry);
        Ok(())
    }
}

fn entry(place: &Path, metadata: &fs::Metadata) -> Result<Entry> {
    let kind = metadata.file_type();
    let kind = if kind.is_dir() {
        Kind::Directory
    } else if kind.is_symlink() {
        let target = fs::read_link(place).with_context(|| place.display().to_string())?;
        Kind::Link(target.to_string_lossy().into_owned())
    } else if kind.is_char_device() {
        Kind::CharacterDevice
    } else if kind.is_block_device() {
        Kind::BlockDevice
    } else if kind.is_fifo() {
        Kind::Fifo
    } else if kind.is_socket() {
        Kind::Socket
    } else {
        Kind::File(Content::At(place.to_owned()))
    };
    let device = (major(metadata.rdev()), minor(metadata.rdev()));
    let attributes = attributes(place).with_context(|| place.display().to_string())?;
    let (mode, uid, gid) = (metadata.mode() & 0o7777, metadata.uid(), metadata.gid());
    // Links have no mode of their own.
    let mode = if matches!(kind, Kind::Link(_)) { 0 } else { mode };
    Ok(Entry { kind, mode, uid, gid, device, same_as: None, attributes })
}

fn attributes(place: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut names = vec![0; 65_536];
    let length = match llistxattr(place, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => 0,
        Err(errno) => return Err(errno).context("extended attributes"),
    };
    names.truncate(length);
    let mut found = BTreeMap::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 65_536];
        let length = lgetxattr(place, name, &mut value[..]).context("extended attribute")?;
        value.truncate(length);
        found.insert(String::from_utf8_lossy(name).into_owned(), value);
    }
    Ok(found)
}
