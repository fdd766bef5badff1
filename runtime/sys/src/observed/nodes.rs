//! Owns what the kernel was told of a tree (its nodes, by number) and what it asked about them.
//! Must not touch the tree. Called by `server`; `observed` takes the questions at the end.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::below::Listed;
use super::raw_name::RawName;
use super::reads::Asked;

/// The number of the root, by FUSE's definition.
const ROOT: u64 = 1;
/// Where numbers begin for files whose own is another's already. It leaves the upper bits to the overlay on top.
const FIRST_OWN: u64 = 1 << 48;

/// How many questions are remembered: a few times what there are files in an image. Whoever asks for more than that asks
/// for everything, or wants to fill our memory with names of what is not there.
const MOST_ASKED: usize = 400_000;

/// All that the kernel was told, which the tree bounds, and what it asked, which a number bounds.
#[derive(Debug)]
pub(super) struct Nodes {
    nodes: HashMap<u64, Node>,
    numbers: HashMap<RawName, u64>,
    /// Of all but directories, by device and inode.
    files: HashMap<(u64, u64), u64>,
    asked: BTreeMap<RawName, Asked>,
    /// How many more questions will be remembered; none once one was not.
    room: Option<usize>,
    next_own: u64,
}

/// A file, with all names by which it was found, or a directory.
#[derive(Debug)]
struct Node {
    stat: Stat,
    paths: Vec<RawName>,
    listing: Option<Arc<Vec<Listed>>>,
}

impl Nodes {
    /// With the root, which everybody sees.
    pub fn new(root: Stat) -> Self {
        let path = RawName::from("/");
        Self {
            nodes: HashMap::from([(ROOT, Node { stat: root, paths: vec![path.clone()], listing: None })]),
            numbers: HashMap::from([(path.clone(), ROOT)]),
            files: HashMap::new(),
            asked: BTreeMap::from([(path, Asked::default())]),
            room: Some(MOST_ASKED),
            next_own: FIRST_OWN,
        }
    }

    /// By which path a node can be reached.
    pub fn path(&self, number: u64) -> Result<&RawName, Errno> {
        Ok(&self.node(number)?.paths[0])
    }

    pub fn stat(&self, number: u64) -> Result<&Stat, Errno> {
        self.node(number).map(|node| &node.stat)
    }

    pub fn listing(&self, number: u64) -> Result<Option<Arc<Vec<Listed>>>, Errno> {
        self.node(number).map(|node| node.listing.clone())
    }

    pub fn keep_listing(&mut self, number: u64, listing: &Arc<Vec<Listed>>) {
        if let Some(node) = self.nodes.get_mut(&number) {
            node.listing = Some(listing.clone());
        }
    }

    /// There is nothing at this path.
    pub fn missed(&mut self, path: RawName) {
        if !self.asked.contains_key(&path) && self.has_room() {
            self.asked.insert(path, Asked::default());
        }
    }

    /// The number of what was found at this path. It is its own in the tree, unless another file has that (on another file
    /// system): so listings have the right ones. All hard links of a file are one node.
    pub fn found(&mut self, path: RawName, stat: Stat) -> u64 {
        if let Some(number) = self.numbers.get(&path) {
            return *number;
        }
        let identity = (stat.st_dev, stat.st_ino);
        let is_file = FileType::from_raw_mode(stat.st_mode) != FileType::Directory;
        let linked = self.files.get(&identity).copied().filter(|_| is_file);
        let number = linked.unwrap_or_else(|| self.number_for(stat.st_ino));
        // What is known under one name is known under all: the kernel will not ask again.
        let node =
            self.nodes.entry(number).or_insert_with(|| Node { stat, paths: Vec::new(), listing: None });
        let known = node.paths.first().and_then(|first| self.asked.get(first)).cloned().unwrap_or_default();
        node.paths.push(path.clone());
        if self.has_room() {
            self.asked.insert(path.clone(), known);
        }
        self.numbers.insert(path, number);
        if is_file {
            self.files.insert(identity, number);
        }
        number
    }

    fn number_for(&mut self, inode: u64) -> u64 {
        if inode > ROOT && inode < FIRST_OWN && !self.nodes.contains_key(&inode) {
            return inode;
        }
        self.next_own += 1;
        self.next_own
    }

    /// Somebody asked about a node, by whichever of its names.
    pub fn ask(&mut self, number: u64, question: impl Fn(&mut Asked)) {
        let paths = self.nodes.get(&number).map(|node| node.paths.as_slice()).unwrap_or_default();
        for path in paths {
            self.asked.get_mut(path).map(&question);
        }
    }

    /// Somebody asked for an extended attribute of a node.
    pub fn ask_attribute(&mut self, number: u64, name: &RawName) {
        let path = self.nodes.get(&number).and_then(|node| node.paths.first());
        let is_new =
            path.and_then(|path| self.asked.get(path)).is_some_and(|asked| !asked.attributes.contains(name));
        if is_new && self.has_room() {
            self.ask(number, |asked| {
                asked.attributes.insert(name.clone());
            });
        }
    }

    /// All paths, with what was asked about each; none when not everything was remembered.
    pub fn take_asked(&mut self) -> Option<Vec<(RawName, Asked)>> {
        self.room?;
        Some(std::mem::take(&mut self.asked).into_iter().collect())
    }

    /// Takes room for one more question.
    fn has_room(&mut self) -> bool {
        self.room = self.room.and_then(|room| room.checked_sub(1));
        if self.room.is_none() {
            self.asked.clear();
        }
        self.room.is_some()
    }

    fn node(&self, number: u64) -> Result<&Node, Errno> {
        self.nodes.get(&number).ok_or(Errno::STALE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_remembered_than_there_is_room_for() {
        let root = rustix::fs::stat("/").expect("stat of /");
        let path = RawName::from("/");
        let names = |prefix: &str, count: usize| -> Vec<RawName> {
            (0..count).map(|number| path.join(format!("{prefix}{number}").as_bytes())).collect()
        };
        let mut nodes = Nodes::new(root);
        names("a", MOST_ASKED - 1).into_iter().for_each(|name| nodes.missed(name));
        names("a", 9).into_iter().for_each(|name| nodes.missed(name));
        nodes.ask_attribute(ROOT, &RawName::from("user.one"));
        nodes.ask_attribute(ROOT, &RawName::from("user.one"));
        assert_eq!(nodes.asked.len(), MOST_ASKED);
        nodes.ask_attribute(ROOT, &RawName::from("user.two"));
        assert_eq!(nodes.take_asked(), None);
        names("b", 9).into_iter().for_each(|name| nodes.missed(name));
        assert!(nodes.asked.is_empty() && nodes.take_asked().is_none());
    }
}
