//! Owns finding out whether a tree still is as it was read, and looking at many paths on all cores.
//! Must not decide what a difference means. Called by the engine.

use std::fmt;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{available_parallelism, scope};

use anyhow::{Context, Result};
use rustix::fs::FileType;
use rustix::io::Errno;

use super::below::Below;
use super::raw_name::RawName;
use super::reads::{Asked, Digest, Properties, Reads, Seen, What};

/// A path at which a tree is not what was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// From the root of the tree.
    pub path: RawName,
    /// What differs there.
    pub change: Change,
}

/// What differs at a path; of several, the first in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// There was nothing.
    Appeared,
    /// There is nothing.
    Gone,
    /// It is something else: a file in place of a link, say.
    Kind,
    /// Its permissions.
    Mode,
    /// Its user or group.
    Owner,
    /// The size of a file.
    Size,
    /// The names in a directory, or their kinds.
    Listing,
    /// Where a link leads.
    Target,
    /// Which device a node is.
    Device,
    /// An extended attribute, by name.
    Attribute(RawName),
    /// Which extended attributes there are.
    AttributeNames,
    /// What is in a file.
    Contents,
    /// Nobody can tell: too much was read.
    Unknown,
}

impl Reads {
    /// The first path at which `tree` now differs from what was read; none when all is as it was. What is cheap to see
    /// counts as before what is in files. [`Reads::Everything`] always differs.
    ///
    /// # Errors
    /// When the tree can't be read.
    pub fn first_difference(&self, tree: &Path) -> Result<Option<Difference>> {
        if *self == Self::Everything {
            return Ok(Some(Difference { path: RawName::from("/"), change: Change::Unknown }));
        }
        let below = Below::new(tree)?;
        let all: Vec<(&RawName, &Seen)> = self.iter().collect();
        let cheap = first(&all, |(path, seen)| {
            let asked = Asked { contents: false, ..seen.asked() };
            Ok(seen.change_to(&Seen::look(&below, path, &asked)?))
        });
        if let Some(difference) = cheap.with_context(|| tree.display().to_string())? {
            return Ok(Some(difference));
        }
        let files: Vec<(&RawName, &Seen)> =
            all.into_iter().filter(|(_, seen)| seen.asked().contents).collect();
        first(&files, |(path, seen)| {
            let contents = Digest::of_file(&below.file(path)?)?;
            Ok((seen.contents() != Some(contents)).then_some(Change::Contents))
        })
        .with_context(|| tree.display().to_string())
    }
}

/// The first path that has changed. Paths are taken in their order, so whatever comes before a change is looked at too.
fn first(
    paths: &[(&RawName, &Seen)],
    change: impl Fn(&(&RawName, &Seen)) -> Result<Option<Change>, Errno> + Sync,
) -> Result<Option<Difference>> {
    for (change, (path, _)) in
        on_all_cores(paths, change, |found| !matches!(found, Ok(None))).into_iter().zip(paths)
    {
        if let Some(change) = change.with_context(|| path.to_string())? {
            return Ok(Some(Difference { path: (*path).clone(), change }));
        }
    }
    Ok(None)
}

/// Does `work` for the items, in their order but several at once, until it `ends` with one; gives what it made of the items
/// up to there.
pub(super) fn on_all_cores<Item: Sync, Made: Send>(
    items: &[Item],
    work: impl Fn(&Item) -> Made + Sync,
    ends: impl Fn(&Made) -> bool + Sync,
) -> Vec<Made> {
    let (next, ended) = (AtomicUsize::new(0), AtomicBool::new(false));
    let worker = || {
        let mut made = Vec::new();
        while !ended.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { break };
            let result = work(item);
            if ends(&result) {
                ended.store(true, Ordering::Relaxed);
            }
            made.push((index, result));
        }
        made
    };
    let cores = available_parallelism().map_or(1, usize::from).min(items.len());
    let mut made = scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(worker)).collect();
        let results =
            workers.into_iter().flat_map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)));
        results.collect::<Vec<_>>()
    });
    made.sort_unstable_by_key(|(index, _)| *index);
    made.into_iter().map(|(_, result)| result).collect()
}

impl Seen {
    fn contents(&self) -> Option<Digest> {
        match self {
            Self::Present(Properties { what: What::File { contents, .. }, .. }) => *contents,
            Self::Present(_) | Self::Absent => None,
        }
    }

    /// What changed when `self` was seen first and `now` later; contents of files are left out.
    fn change_to(&self, now: &Self) -> Option<Change> {
        match (self, now) {
            (Self::Absent, Self::Absent) => None,
            (Self::Absent, Self::Present(_)) => Some(Change::Appeared),
            (Self::Present(_), Self::Absent) => Some(Change::Gone),
            (Self::Present(before), Self::Present(now)) => before.change_to(now),
        }
    }
}

impl Properties {
    fn change_to(&self, now: &Self) -> Option<Change> {
        let kind = |properties: &Self| FileType::from_raw_mode(properties.mode);
        if kind(self) != kind(now) {
            return Some(Change::Kind);
        }
        let attribute = || {
            let mut pairs = self.attributes.iter().zip(&now.attributes);
            pairs.find(|(before, now)| before != now).map(|((name, _), _)| Change::Attribute(name.clone()))
        };
        let differs = |is_so: bool, change: Change| is_so.then_some(change);
        differs(self.mode != now.mode, Change::Mode)
            .or_else(|| differs((self.uid, self.gid) != (now.uid, now.gid), Change::Owner))
            .or_else(|| self.what.change_to(&now.what))
            .or_else(attribute)
            .or_else(|| differs(self.attribute_names != now.attribute_names, Change::AttributeNames))
    }
}

impl What {
    /// Between two of one kind.
    fn change_to(&self, now: &Self) -> Option<Change> {
        let (same, change) = match (self, now) {
            (Self::Directory { listing: before }, Self::Directory { listing: now }) => {
                (before == now, Change::Listing)
            }
            (Self::File { size: before, .. }, Self::File { size: now, .. }) => (before == now, Change::Size),
            (Self::Link { target: before }, Self::Link { target: now }) => (before == now, Change::Target),
            (Self::Node { rdev: before }, Self::Node { rdev: now }) => (before == now, Change::Device),
            (Self::Directory { .. } | Self::File { .. } | Self::Link { .. } | Self::Node { .. }, _) => {
                (false, Change::Kind)
            }
        };
        (!same).then_some(change)
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.path, self.change)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Appeared => "appeared",
            Self::Gone => "is gone",
            Self::Kind => "kind changed",
            Self::Mode => "mode changed",
            Self::Owner => "owner changed",
            Self::Size | Self::Contents => "content changed",
            Self::Listing => "entries changed",
            Self::Target => "link changed",
            Self::Device => "device changed",
            Self::Attribute(name) => return write!(formatter, "attribute {name} changed"),
            Self::AttributeNames => "attributes changed",
            Self::Unknown => "more was read below it than is remembered",
        };
        formatter.write_str(text)
    }
}
