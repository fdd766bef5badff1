//! The target's files as the runtime itself handles them: `dibw-sys`' in-root operations with `anyhow` errors.

use std::path::Path;

use anyhow::Result;
use dibw_sys::target_files::{FileError, SpecialBits, TargetRoot, kind_name};

/// The target's root directory; no path leads out of it.
pub struct TargetFiles(pub TargetRoot);

impl TargetFiles {
    /// Opens the directory.
    ///
    /// # Errors
    /// When it can't be opened.
    pub fn open(root: &Path) -> Result<Self> {
        TargetRoot::open(root).map(Self)
    }

    /// Whether there is such an entry; a symbolic link counts as one.
    ///
    /// # Errors
    /// When that can't be found out.
    pub fn exists(&self, path: &str) -> Result<bool> {
        match self.0.stat(path) {
            Ok(stat) => Ok(stat.is_some()),
            Err(FileError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// A whole text file.
    ///
    /// # Errors
    /// When it is missing, no regular file or not UTF-8.
    pub fn read_text(&self, path: &str) -> Result<String> {
        Ok(String::from_utf8(self.0.read_whole(path)?)?)
    }

    /// Creates or replaces a file, owner root.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn write(&self, path: &str, contents: &[u8], mode: u32) -> Result<()> {
        Ok(self.0.write(path, contents, mode, SpecialBits::Strip)?)
    }

    /// Makes a directory and its parents.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn make_dir(&self, path: &str, mode: u32) -> Result<()> {
        Ok(self.0.make_dir(path, mode)?)
    }

    /// Makes or replaces a symbolic link.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn symlink(&self, target: &str, path: &str) -> Result<()> {
        Ok(self.0.symlink(target, path)?)
    }

    /// Removes a file or link.
    ///
    /// # Errors
    /// When it can't be removed.
    pub fn remove(&self, path: &str) -> Result<()> {
        Ok(self.0.remove(path)?)
    }

    /// Removes a directory with everything in it.
    ///
    /// # Errors
    /// When something in it can't be removed.
    pub fn remove_all(&self, path: &str) -> Result<()> {
        Ok(self.0.remove_all(path)?)
    }

    /// Names in a directory; none when it is missing.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn list(&self, path: &str) -> Result<Vec<String>> {
        match self.0.list_dir(path) {
            Err(FileError::NotFound { .. }) => Ok(Vec::new()),
            other => Ok(other?),
        }
    }

    /// Paths of all regular files below a directory; none when it is missing.
    ///
    /// # Errors
    /// When a directory can't be read.
    pub fn walk_files(&self, path: &str) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let walked = self.0.walk(path, &mut |path, stat| {
            if kind_name(stat.kind) == "file" {
                found.push(path.to_owned());
            }
            Ok(())
        });
        match walked {
            Ok(()) | Err(FileError::NotFound { .. }) => Ok(found),
            Err(error) => Err(error.into()),
        }
    }

    /// Empties a file, keeping owner and mode.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn truncate(&self, path: &str) -> Result<()> {
        Ok(self.0.truncate(path)?)
    }
}
