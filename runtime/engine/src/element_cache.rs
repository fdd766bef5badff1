//! What typed elements keep from build to build: `ELEMENT-DIGEST/` with one file per key, named by the key's own SHA-256, and a
//! directory to mount. An element reaches nothing but the directory of its own name and digest; keys are never part of a path.
//!
//! A file is the SHA-256 of its contents and then the contents, and comes into place by rename: one that is damaged counts as absent.
//! Callers: [`crate::lent`].

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::catalogue::hex;

/// Bytes of the digest before the contents.
const DIGEST: usize = 32;

/// Bytes that an entry counts beside its contents, so that empty ones are not free.
const ENTRY: u64 = 512;

/// What one element at one digest keeps.
#[derive(Clone, Debug)]
pub struct ElementCache {
    directory: PathBuf,
    /// Nothing that was kept is used.
    refresh: bool,
}

/// The directory to mount, ours alone as long as this lives.
#[derive(Debug)]
pub struct MountedCache {
    /// Where it is.
    pub directory: PathBuf,
    /// Locked.
    _lock: File,
}

impl ElementCache {
    /// Below `base`, for an element and the SHA-256 of its component.
    pub fn new(base: &Path, element: &str, digest: &str, refresh: bool) -> Self {
        // An element's name has no slash; that of its directory could.
        let directory = base.join(format!("{}-{digest}", hex(&Sha256::digest(element))));
        Self { directory, refresh }
    }

    fn entry(&self, key: &str) -> PathBuf {
        self.directory.join("keys").join(hex(&Sha256::digest(key)))
    }

    /// What is kept under a key.
    ///
    /// # Errors
    /// When it is there and can't be read.
    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        if self.refresh {
            return Ok(None);
        }
        let path = self.entry(key);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.with_context(|| format!("reading {}", path.display()))?,
        };
        match bytes.split_at_checked(DIGEST) {
            Some((digest, contents)) if Sha256::digest(contents).as_slice() == digest => {
                Ok(Some(contents.to_vec()))
            }
            Some(_) | None => {
                tracing::warn!("{} is damaged: it counts as absent", path.display());
                Ok(None)
            }
        }
    }

    /// Bytes of all keys together, once so many are kept under this one.
    ///
    /// # Errors
    /// When the directory can't be read.
    pub fn size_with(&self, key: &str, bytes: u64) -> Result<u64> {
        let directory = self.directory.join("keys");
        let own = self.entry(key);
        let entries = match fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(bytes),
            entries => entries.with_context(|| format!("reading {}", directory.display()))?,
        };
        let mut whole = bytes;
        for entry in entries {
            let entry = entry.with_context(|| format!("reading {}", directory.display()))?;
            if entry.path() != own {
                // Another build may have replaced it in between.
                whole += entry.metadata().map_or(0, |found| found.len()) + ENTRY;
            }
        }
        Ok(whole)
    }

    /// Keeps bytes under a key.
    ///
    /// # Errors
    /// When they can't be written.
    pub fn put(&self, key: &str, contents: &[u8]) -> Result<()> {
        make_private(&self.directory.join("keys"))?;
        let path = self.entry(key);
        let context = || format!("keeping {}", path.display());
        // One at a time, so that there is one temporary name, and what a killed build left there is written over.
        let _lock =
            self.lock("keys.lock").and_then(|lock| lock.lock().map(|()| lock)).with_context(context)?;
        let temporary = self.directory.join("keys.new");
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&temporary).with_context(context)?;
        file.write_all(&Sha256::digest(contents))
            .and_then(|()| file.write_all(contents))
            .and_then(|()| fs::rename(&temporary, &path))
            .with_context(context)
    }

    fn lock(&self, name: &str) -> io::Result<File> {
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(self.directory.join(name))
    }

    /// The directory to mount; none while another build has it.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn mounted(&self) -> Result<Option<MountedCache>> {
        let directory = self.directory.join("mounted");
        let context = || format!("making {}", directory.display());
        make_private(&self.directory)?;
        let lock = self.lock("mounted.lock").with_context(context)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error).with_context(context),
        }
        if self.refresh && directory.exists() {
            fs::remove_dir_all(&directory).with_context(|| format!("emptying {}", directory.display()))?;
        }
        match DirBuilder::new().mode(0o755).create(&directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error).with_context(context),
            Ok(()) | Err(_) => Ok(Some(MountedCache { directory, _lock: lock })),
        }
    }
}

fn make_private(directory: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.with_context(|| format!("making {}", directory.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back_to_its_element_only() {
        let base = tempfile::tempdir().unwrap();
        let cache = |element: &str, digest: &str| ElementCache::new(base.path(), element, digest, false);
        let own = cache("motd", "aa");
        assert_eq!(own.get("key").unwrap(), None);
        own.put("key", b"first").unwrap();
        own.put("key", b"second").unwrap();
        own.put("../../key", b"other").unwrap();
        assert_eq!(own.get("key").unwrap().as_deref(), Some(&b"second"[..]));
        assert_eq!(own.get("../../key").unwrap().as_deref(), Some(&b"other"[..]));
        for foreign in [cache("motd", "bb"), cache("other", "aa"), cache("../motd", "aa")] {
            assert_eq!(foreign.get("key").unwrap(), None);
        }
        assert_eq!(ElementCache::new(base.path(), "motd", "aa", true).get("key").unwrap(), None);
        // Nothing but its own directory came into being.
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 1);
        assert_eq!(own.size_with("key", 10).unwrap(), 10 + 5 + 32 + ENTRY);
    }

    #[test]
    fn damage_counts_as_absence() {
        let base = tempfile::tempdir().unwrap();
        let cache = ElementCache::new(base.path(), "motd", "aa", false);
        cache.put("key", b"contents").unwrap();
        let path = cache.entry("key");
        for damaged in [&b"short"[..], &[0; 40]] {
            fs::write(&path, damaged).unwrap();
            assert_eq!(cache.get("key").unwrap(), None);
        }
    }

    #[test]
    fn one_build_at_a_time_has_the_directory() {
        let base = tempfile::tempdir().unwrap();
        let cache = ElementCache::new(base.path(), "motd", "aa", false);
        let first = cache.mounted().unwrap().unwrap();
        assert!(cache.mounted().unwrap().is_none());
        drop(first);
        assert!(cache.mounted().unwrap().is_some());
    }
}
