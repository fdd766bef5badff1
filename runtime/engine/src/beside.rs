//! What hooks on the host write beside the artifacts (a kernel, manifests): it waits in a place of its own until the build has ended
//! well, and only what is named after the image gets there. Hooks may put anything in that place, so links and devices stay behind.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, fchown, lchown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::events::Level;
use crate::failure::Failure;
use crate::hooks_tree::names;
use crate::run::Build;

impl Build<'_> {
    /// The directory of the artifacts, where hooks seem to write.
    pub(crate) fn beside_artifacts(&self) -> Option<PathBuf> {
        let directory = self.start_dir.join(&self.plan.output).parent()?.to_path_buf();
        // Nothing can lie over the root of a file system.
        directory.parent()?;
        Some(directory)
    }

    /// Puts the files of hooks beside the artifacts.
    pub(crate) fn collect_beside(&self) -> Result<(), Failure> {
        let Some(to) = self.beside_artifacts() else { return Ok(()) };
        let from = self.machine().captured(&to);
        if !from.is_dir() {
            return Ok(());
        }
        for name in names(&from)? {
            if self.belongs_to_image(&name) {
                self.bring(&from.join(&name), &to.join(&name))?;
            } else if from.join(&name).is_file() && to != Path::new("/tmp") {
                let text = format!(
                    "a hook wrote {}: not kept, the name is not the image's",
                    to.join(&name).display()
                );
                self.message(Level::Warn, "", text);
            }
        }
        Ok(())
    }

    /// `image.vmlinuz`, `image-boot.iso`, `image.d`, and where manifests are to go.
    fn belongs_to_image(&self, name: &str) -> bool {
        let image = Path::new(&self.plan.output).file_name().unwrap_or_default().to_string_lossy();
        let rest = name.strip_prefix(image.as_ref());
        let manifests = self.base_variables.get("DIB_MANIFEST_SAVE_DIR");
        let manifests = manifests.and_then(|path| Path::new(path).file_name()).unwrap_or_default();
        rest.is_some_and(|rest| rest.starts_with(|c: char| !c.is_alphanumeric())) || manifests == name
    }

    fn bring(&self, from: &Path, to: &Path) -> Result<()> {
        let context = || format!("bringing {}", to.display());
        let found = fs::symlink_metadata(from).with_context(context)?;
        let mode = found.permissions().mode() & 0o777;
        if found.is_dir() {
            let made_anew = !to.exists();
            match fs::DirBuilder::new().mode(mode).create(to) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => made.with_context(context)?,
            }
            // A link in its place would lead elsewhere.
            if !fs::symlink_metadata(to).with_context(context)?.is_dir() {
                self.message(Level::Warn, "", format!("{} is no directory: left as it is", to.display()));
                return Ok(());
            }
            if let Some((uid, gid)) = self.owner.filter(|_| made_anew) {
                lchown(to, Some(uid), Some(gid)).with_context(context)?;
            }
            return names(from)?.iter().try_for_each(|name| self.bring(&from.join(name), &to.join(name)));
        }
        if !found.is_file() {
            self.message(Level::Warn, "", format!("{} is no regular file: not kept", to.display()));
            return Ok(());
        }
        let new = replace(from, to, mode).with_context(context)?;
        self.give_away(&new).with_context(context)
    }

    /// Makes a file the caller's.
    pub(crate) fn give_away(&self, file: &File) -> io::Result<()> {
        match self.owner {
            Some((uid, gid)) => fchown(file, Some(uid), Some(gid)),
            None => Ok(()),
        }
    }
}

/// Never writes through a link: the old entry goes away first.
fn replace(from: &Path, to: &Path, mode: u32) -> io::Result<File> {
    match fs::remove_file(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut new = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(to)?;
    io::copy(&mut File::open(from)?, &mut new)?;
    Ok(new)
}
