//! Compares two built images: every difference of path, type, mode, owner, link, extended attribute, device number and content, and
//! of the disks they lie on. Knows nothing of who built them. Called by `compat-compare` (tests/compat/compare) and by tests.

pub mod allowed;
mod content;
mod initrd;
pub mod inventory;
pub mod source;

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Result;

use content::Verdict;
use inventory::{Entry, Inventory, Kind};

/// What differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aspect {
    /// It is in the first image only.
    OnlyA,
    /// It is in the second image only.
    OnlyB,
    /// File, directory, link, device ...
    Type,
    /// Permission bits, with set-user-ID and the like.
    Mode,
    /// User and group, by number.
    Owner,
    /// Where a symbolic link points.
    Link,
    /// Extended attributes: file capabilities and access lists among them.
    Attributes,
    /// Device numbers.
    Device,
    /// Which names are the same file.
    HardLinks,
    /// The bytes of a file, or a fact about a disk.
    Content,
    /// The same lines in another order.
    Order,
}

impl Aspect {
    /// Its name in listings and in the list of what is allowed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OnlyA => "only-a",
            Self::OnlyB => "only-b",
            Self::Type => "type",
            Self::Mode => "mode",
            Self::Owner => "owner",
            Self::Link => "link",
            Self::Attributes => "attributes",
            Self::Device => "device",
            Self::HardLinks => "hard-links",
            Self::Content => "content",
            Self::Order => "order",
        }
    }
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The path in the image; facts about disks have a place in parentheses.
    pub path: String,
    /// What differs.
    pub aspect: Aspect,
    /// What both have, for people.
    pub shown: String,
    /// The lines that only one of them has, where both are text.
    pub lines: Option<Vec<String>>,
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}  {}", self.path, self.aspect.name())?;
        if !self.shown.is_empty() {
            write!(out, ": {}", self.shown)?;
        }
        Ok(())
    }
}

/// All differences, by path. Of a directory that only one of them has, its entries are counted and not listed.
///
/// # Errors
/// When a file can't be read.
pub fn differences(a: &Inventory, b: &Inventory) -> Result<Vec<Difference>> {
    let mut found = only_in(a, b, Aspect::OnlyA);
    found.extend(only_in(b, a, Aspect::OnlyB));
    for (path, ours) in &a.entries {
        if let Some(theirs) = b.entries.get(path) {
            found.extend(of_entries(path, ours, theirs)?);
        }
    }
    found.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(found)
}

/// What `a` has and `b` has not.
fn only_in(a: &Inventory, b: &Inventory, aspect: Aspect) -> Vec<Difference> {
    let missing = |path: &str| a.entries.contains_key(path) && !b.entries.contains_key(path);
    let mut below: BTreeMap<&str, usize> = BTreeMap::new();
    for path in a.entries.keys().filter(|path| missing(path)) {
        let top = ancestors(path).filter(|above| missing(above)).last().unwrap_or(path);
        *below.entry(top).or_default() += 1;
    }
    let shown = |path: &str, entries: usize| match entries {
        1 => a.entries[path].summary(),
        more => format!("{}, and {} entries below it", a.entries[path].summary(), more - 1),
    };
    let lines = |path, entries| Difference {
        path: String::from(path),
        aspect,
        shown: shown(path, entries),
        lines: None,
    };
    below.into_iter().map(|(path, entries)| lines(path, entries)).collect()
}

/// The directories above a path, nearest first.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    let mut rest = path;
    std::iter::from_fn(move || {
        rest = &rest[..rest.rfind('/')?];
        Some(rest)
    })
}

fn of_entries(path: &str, a: &Entry, b: &Entry) -> Result<Vec<Difference>> {
    let mut found = Vec::new();
    let mut add = |aspect, shown: String| {
        found.push(Difference { path: path.to_owned(), aspect, shown, lines: None });
    };
    if a.kind.name() != b.kind.name() {
        add(Aspect::Type, format!("{} -> {}", a.summary(), b.summary()));
        return Ok(found);
    }
    if a.mode != b.mode {
        add(Aspect::Mode, format!("{:04o} -> {:04o}", a.mode, b.mode));
    }
    if (a.uid, a.gid) != (b.uid, b.gid) {
        add(Aspect::Owner, format!("{}:{} -> {}:{}", a.uid, a.gid, b.uid, b.gid));
    }
    if a.device != b.device {
        add(Aspect::Device, format!("{:?} -> {:?}", a.device, b.device));
    }
    if a.same_as != b.same_as {
        add(Aspect::HardLinks, format!("{:?} -> {:?}", a.same_as, b.same_as));
    }
    if a.attributes != b.attributes {
        add(Aspect::Attributes, format!("{} -> {}", a.attributes_shown(), b.attributes_shown()));
    }
    match (&a.kind, &b.kind) {
        (Kind::Link(a), Kind::Link(b)) if a != b => add(Aspect::Link, format!("{a} -> {b}")),
        (Kind::Fact(a), Kind::Fact(b)) if a != b => add(Aspect::Content, format!("{a} -> {b}")),
        (Kind::File(a), Kind::File(b)) => match content::compare(a, b)? {
            Verdict::Same => {}
            Verdict::Reordered => add(Aspect::Order, "the same lines in another order".to_owned()),
            Verdict::Other { shown, lines } => {
                found.push(Difference { path: path.to_owned(), aspect: Aspect::Content, shown, lines });
            }
        },
        _ => {}
    }
    Ok(found)
}
