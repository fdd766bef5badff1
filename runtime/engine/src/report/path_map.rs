//! A number for each path of a tree, in few bytes: of a path only a keyed hash is kept, so that neither long names nor names made to
//! collide cost anything. Paths have no slash in front. Callers: the two ways to tell whose a file is.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

/// Most paths that are kept: some 40 MB.
const MOST: usize = 1 << 21;

/// Paths and their numbers.
#[derive(Debug, Default)]
pub(super) struct PathMap {
    hasher: RandomState,
    numbers: HashMap<u64, u32>,
}

impl PathMap {
    /// Gives a path its number, in place of what it had; beyond the bound it is forgotten.
    pub(super) fn insert(&mut self, path: &[u8], number: u32) {
        let key = self.hasher.hash_one(path);
        if self.numbers.len() < MOST || self.numbers.contains_key(&key) {
            self.numbers.insert(key, number);
        }
    }

    /// The number of a path.
    pub(super) fn get(&self, path: &[u8]) -> Option<u32> {
        self.numbers.get(&self.hasher.hash_one(path)).copied()
    }
}
