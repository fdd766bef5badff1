//! Owns what was read of a tree: for each path, what it was, as far as somebody asked.
//! Must not know who asked. Made by `observed`, kept by the engine, compared by `compare`.
//!
//! Times are no part of it, on purpose: they are no input of a command that makes an image, and a layer that was made again
//! has others. Nor are inode numbers, numbers of links, and the sizes of directories.

use std::collections::btree_map::Entry as Place;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use super::below::{Below, Entry, Listed};
use super::compare::on_all_cores;
use super::raw_name::RawName;
use super::server::View;

/// Bytes hashed at once.
const PIECE: usize = 256 << 10;

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reads {
    /// This, by path from the root of the tree.
    #[serde(rename = "paths")]
    Paths(BTreeMap<RawName, Seen>),
    /// So much that it was not remembered.
    #[serde(rename = "everything")]
    Everything,
}

/// What was at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seen {
    /// Nothing.
    #[serde(rename = "absent")]
    Absent,
    /// Something.
    #[serde(rename = "present")]
    Present(Properties),
}

/// What an entry was. What nobody asked for is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Properties {
    /// Kind and permissions, as in `st_mode`.
    pub mode: u32,
    /// Owner, as on disk.
    #[serde(rename = "u", default, skip_serializing_if = "is_zero")]
    pub uid: u32,
    /// Group, as on disk.
    #[serde(rename = "g", default, skip_serializing_if = "is_zero")]
    pub gid: u32,
    /// What only its kind has.
    #[serde(flatten)]
    pub what: What,
    /// The extended attributes that were asked for, with their digests; none for one it had not.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<RawName, Option<Digest>>,
    /// Of the names of all its extended attributes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attribute_names: Option<Digest>,
}

/// What only one kind of entries has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// A directory.
    #[serde(rename = "dir")]
    Directory {
        /// Of its names and their kinds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        listing: Option<Digest>,
    },
    /// A regular file.
    #[serde(rename = "file")]
    File {
        /// Bytes.
        size: u64,
        /// Of the contents.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        contents: Option<Digest>,
    },
    /// A symbolic link.
    #[serde(rename = "link")]
    Link {
        /// Its text.
        target: RawName,
    },
    /// A device, a fifo or a socket.
    #[serde(rename = "node")]
    Node {
        /// The device.
        rdev: u64,
    },
}

/// A SHA-256.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; 32]);

/// What somebody asked about an entry, beyond its being there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub contents: bool,
    pub listing: bool,
    pub attributes: BTreeSet<RawName>,
    pub attribute_names: bool,
}

impl Reads {
    /// Looks at all that was asked for, as far as it was asked. The tree must be as it was then.
    pub(super) fn of(view: &View) -> Result<Self> {
        let Some(asked) = view.take_asked() else { return Ok(Self::Everything) };
        let seen = on_all_cores(&asked, |(path, asked)| Seen::look(&view.tree, path, asked), Result::is_err);
        let seen = asked.iter().zip(seen).map(|((path, _), seen)| {
            let seen = seen.with_context(|| format!("look again at {path}"))?;
            Ok((path.clone(), seen))
        });
        seen.collect::<Result<_>>().map(Self::Paths)
    }

    /// Nothing was read.
    pub fn none() -> Self {
        Self::Paths(BTreeMap::new())
    }

    /// What was read here or there, of a tree that was the same both times.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let (Self::Paths(mut paths), Self::Paths(others)) = (self, other) else { return Self::Everything };
        for (path, seen) in others {
            match paths.entry(path) {
                Place::Vacant(place) => drop(place.insert(seen)),
                Place::Occupied(mut known) => known.get_mut().add(seen),
            }
        }
        Self::Paths(paths)
    }

    /// What was at `path`; none when nobody asked.
    pub fn get(&self, path: &str) -> Option<&Seen> {
        match self {
            Self::Paths(paths) => paths.get(&RawName::from(path)),
            Self::Everything => None,
        }
    }

    /// All remembered paths with what was there, sorted bytewise.
    pub fn iter(&self) -> impl Iterator<Item = (&RawName, &Seen)> {
        let paths = match self {
            Self::Paths(paths) => Some(paths),
            Self::Everything => None,
        };
        paths.into_iter().flatten()
    }
}

impl Seen {
    /// Looks at `path`, as far as it was asked for.
    pub(super) fn look(tree: &Below, path: &RawName, asked: &Asked) -> Result<Self, Errno> {
        let entry = match tree.entry(path) {
            // A parent that is no directory any more is a difference of its own.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Self::Absent),
            entry => entry?,
        };
        let stat = entry.stat()?;
        let digest = |name: &RawName| Ok(entry.attribute(name)?.map(|value| Digest::of(&value)));
        let attributes = asked.attributes.iter().map(|name| digest(name).map(|value| (name.clone(), value)));
        let names = |entry: &Entry| Ok(Digest::of_lines(entry.attribute_names()?.iter().map(RawName::bytes)));
        Ok(Self::Present(Properties {
            mode: stat.st_mode,
            uid: stat.st_uid,
            gid: stat.st_gid,
            what: What::look(tree, path, &entry, &stat, asked)?,
            attributes: attributes.collect::<Result<_, Errno>>()?,
            attribute_names: asked.attribute_names.then(|| names(&entry)).transpose()?,
        }))
    }

    /// Adds what else was asked of the same entry.
    fn add(&mut self, other: Self) {
        let (Self::Present(known), Self::Present(other)) = (self, other) else { return };
        match (&mut known.what, other.what) {
            (What::Directory { listing: known }, What::Directory { listing }) => *known = known.or(listing),
            (What::File { contents: known, .. }, What::File { contents, .. }) => *known = known.or(contents),
            (What::Directory { .. } | What::File { .. } | What::Link { .. } | What::Node { .. }, _) => {}
        }
        known.attributes.extend(other.attributes);
        known.attribute_names = known.attribute_names.or(other.attribute_names);
    }

    /// What was asked to see this.
    pub(super) fn asked(&self) -> Asked {
        let Self::Present(properties) = self else { return Asked::default() };
        Asked {
            contents: matches!(properties.what, What::File { contents: Some(_), .. }),
            listing: matches!(properties.what, What::Directory { listing: Some(_) }),
            attributes: properties.attributes.keys().cloned().collect(),
            attribute_names: properties.attribute_names.is_some(),
        }
    }
}

impl What {
    fn look(tree: &Below, path: &RawName, entry: &Entry, stat: &Stat, asked: &Asked) -> Result<Self, Errno> {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let list = || tree.listing(path).map(|listing| Digest::of_listing(&listing));
                Ok(Self::Directory { listing: asked.listing.then(list).transpose()? })
            }
            FileType::RegularFile => {
                let read = || Digest::of_file(&tree.file(path)?);
                let size = stat.st_size.cast_unsigned();
                Ok(Self::File { size, contents: asked.contents.then(read).transpose()? })
            }
            FileType::Symlink => Ok(Self::Link { target: entry.link_text()? }),
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => Ok(Self::Node { rdev: stat.st_rdev }),
        }
    }
}

impl Digest {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Of what none contains NUL.
    fn of_lines<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut hash = Sha256::new();
        for line in lines {
            hash.update(line);
            hash.update([0]);
        }
        Self(hash.finalize().into())
    }

    fn of_listing(listing: &[Listed]) -> Self {
        let mut hash = Sha256::new();
        for entry in listing {
            hash.update(entry.name.as_bytes_with_nul());
            hash.update(entry.kind.as_raw_mode().to_le_bytes());
        }
        Self(hash.finalize().into())
    }

    pub(super) fn of_file(file: &OwnedFd) -> Result<Self, Errno> {
        let mut hash = Sha256::new();
        let mut piece = vec![0; PIECE];
        loop {
            match rustix::io::retry_on_intr(|| rustix::io::read(file, &mut piece[..]))? {
                0 => return Ok(Self(hash.finalize().into())),
                length => hash.update(&piece[..length]),
            }
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self}")
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let byte = |index: usize| u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok();
        let mut digest = [0; 32];
        for (index, place) in digest.iter_mut().enumerate() {
            *place = byte(index).ok_or_else(|| D::Error::custom(format!("{text:?} is not a SHA-256")))?;
        }
        if text.len() != 64 {
            return Err(D::Error::custom(format!("{text:?} is not a SHA-256")));
        }
        Ok(Self(digest))
    }
}

fn is_zero(id: &u32) -> bool {
    *id == 0
}
