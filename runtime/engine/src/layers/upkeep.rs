//! Looking after the cache: what is in it, what has to go, what is damaged. Called by `dibw cache` and at the end of builds.

use std::fs;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use dibw_sys::stored_tree::Scrutiny;

use super::store::{Entry, Store, children, look};

/// What was found wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Its name.
    pub id: String,
    /// The step it is of.
    pub title: String,
    /// What.
    pub what: String,
}

impl Store {
    /// Every entry that can be read, with the time of its last use, least recently used first.
    ///
    /// # Errors
    /// When the cache can't be read.
    pub fn entries(&self) -> Result<Vec<(SystemTime, Entry)>> {
        let mut entries = Vec::new();
        for path in children(&self.base.join("entries"))? {
            let read = || -> Result<(SystemTime, Entry)> {
                let used = fs::metadata(&path)?.modified()?;
                Ok((used, serde_json::from_slice(&fs::read(path.join("entry.json"))?)?))
            };
            match read() {
                Ok(found) => entries.push(found),
                Err(error) => tracing::debug!("{}: {error:#}", path.display()),
            }
        }
        entries.sort_by_key(|(used, _)| *used);
        Ok(entries)
    }

    /// Removes the least recently used entries until all of them take at most `limit` bytes, and those unused for longer than `unused`.
    /// What builds use stays. Gives what went.
    ///
    /// # Errors
    /// When something can't be removed.
    pub fn prune(&self, limit: u64, unused: Option<Duration>) -> Result<Vec<Entry>> {
        let entries = self.entries()?;
        let mut whole: u64 = entries.iter().map(|(_, entry)| entry.bytes).sum();
        let mut gone = Vec::new();
        for (used, entry) in entries {
            let old = unused.is_some_and(|unused| used.elapsed().is_ok_and(|age| age > unused));
            if (whole > limit || old) && self.remove_if_unused(&entry.id)? {
                whole -= entry.bytes;
                gone.push(entry);
            }
        }
        self.remove_idle_keys()?;
        Ok(gone)
    }

    /// Keys that lead to nothing any more.
    fn remove_idle_keys(&self) -> Result<()> {
        let _lock = self.lock_keys()?;
        for path in children(&self.base.join("keys"))? {
            let ids = fs::read_to_string(&path).unwrap_or_default();
            if !ids.lines().any(|id| self.entry_dir(id).is_dir()) {
                fs::remove_file(&path).with_context(|| path.display().to_string())?;
            }
        }
        Ok(())
    }

    /// Looks at every byte of every entry; damaged ones are removed.
    ///
    /// # Errors
    /// When the cache can't be read.
    pub fn verify(&self) -> Result<(usize, Vec<Damage>)> {
        let mut damages = Vec::new();
        let mut whole = 0;
        for path in children(&self.base.join("entries"))? {
            let id = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let (title, damage) = match self.hold(&id) {
                Ok(None) => continue,
                Ok(Some(held)) => (held.entry.title.clone(), look(&held, Scrutiny::Thorough)?),
                Err(error) => (String::new(), Some(format!("{error:#}"))),
            };
            match damage {
                None => whole += 1,
                Some(what) => {
                    self.remove(&id)?;
                    damages.push(Damage { id, title, what });
                }
            }
        }
        Ok((whole, damages))
    }
}
