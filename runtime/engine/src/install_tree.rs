//! What the runtime itself copies into the target for classic elements: `bin/`, `static/` and the service map.
//! The merged tree is read through a directory handle: hooks on the host can write to it, and no link of theirs may make the runtime,
//! which is root of the host, read a file outside it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, PermissionsExt};
use dibw_plan::packages::{ServiceMap, merge_services, services_text};

use crate::failure::Failure;
use crate::run::Build;
use crate::target::TargetFiles;

impl Build<'_> {
    /// Every file of the merged `bin/` goes to `/usr/local/bin`, mode 0755.
    pub(crate) fn install_bin(&self) -> Result<(), Failure> {
        let files = self.files()?;
        let tree = Tree::open(&self.hooks)?;
        for name in tree.names(Path::new("bin"))? {
            let path = Path::new("bin").join(&name);
            if tree.holds_file(&path)? {
                files.write(&format!("/usr/local/bin/{name}"), &tree.read(&path)?, 0o755)?;
            }
        }
        Ok(())
    }

    /// The merged `static/` is laid over the target; owner root, modes as in the tree.
    pub(crate) fn install_static(&self) -> Result<(), Failure> {
        let files = self.files()?;
        Ok(lay_over(&files, &Tree::open(&self.hooks)?, Path::new("static"), "")?)
    }

    /// Writes the service names of the target's distribution.
    pub(crate) fn install_service_map(&self, maps: &BTreeMap<String, ServiceMap>) -> Result<(), Failure> {
        let distro = self.variables.get("DISTRO_NAME").map_or("", String::as_str);
        let text = services_text(&merge_services(maps, distro));
        Ok(self.files()?.write("/usr/share/svc-map/services", text.as_bytes(), 0o644)?)
    }
}

fn lay_over(files: &TargetFiles, tree: &Tree, from: &Path, to: &str) -> Result<()> {
    for name in tree.names(from)? {
        let (from, to) = (from.join(&name), format!("{to}/{name}"));
        let metadata = tree.dir.symlink_metadata(&from).with_context(|| tree.reading(&from))?;
        let mode = metadata.permissions().mode() & 0o777;
        if metadata.is_symlink() {
            let target = tree.dir.read_link_contents(&from).with_context(|| tree.reading(&from))?;
            files.symlink(&target.to_string_lossy(), &to)?;
        } else if metadata.is_dir() {
            files.make_dir(&to, mode)?;
            lay_over(files, tree, &from, &to)?;
        } else if metadata.is_file() {
            files.write(&to, &tree.read(&from)?, mode)?;
        }
    }
    Ok(())
}

/// The merged hooks tree; no path leads out of it.
struct Tree {
    dir: Dir,
    path: PathBuf,
}

impl Tree {
    fn open(path: &Path) -> Result<Self> {
        let dir = Dir::open_ambient_dir(path, ambient_authority())
            .with_context(|| format!("opening {}", path.display()))?;
        Ok(Self { dir, path: path.to_path_buf() })
    }

    /// Sorted, so that the result does not depend on the file system.
    fn names(&self, directory: &Path) -> Result<Vec<String>> {
        let context = || format!("listing {}", self.path.join(directory).display());
        let mut names = self
            .dir
            .read_dir(directory)
            .with_context(context)?
            .map(|entry| Ok(entry.with_context(context)?.file_name().to_string_lossy().into_owned()))
            .collect::<Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    /// Links are followed within the tree; one that leads out of it is an error.
    fn holds_file(&self, path: &Path) -> Result<bool> {
        Ok(self.dir.metadata(path).with_context(|| self.reading(path))?.is_file())
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>> {
        self.dir.read(path).with_context(|| self.reading(path))
    }

    fn reading(&self, path: &Path) -> String {
        format!("reading {}", self.path.join(path).display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_followed_within_the_tree_only() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |path: &str| scratch.path().join(path);
        std::fs::create_dir_all(at("tree/bin")).unwrap();
        std::fs::write(at("secret"), "s").unwrap();
        std::fs::write(at("tree/tool"), "t").unwrap();
        symlink("../tool", at("tree/bin/inside")).unwrap();
        symlink("../../secret", at("tree/bin/outside")).unwrap();
        symlink(at("secret"), at("tree/bin/absolute")).unwrap();
        let tree = Tree::open(&at("tree")).unwrap();
        assert_eq!(tree.names(Path::new("bin")).unwrap(), ["absolute", "inside", "outside"]);
        assert_eq!(tree.read(Path::new("bin/inside")).unwrap(), b"t");
        for name in ["bin/outside", "bin/absolute"] {
            assert!(tree.holds_file(Path::new(name)).is_err(), "{name}");
            assert!(tree.read(Path::new(name)).is_err(), "{name}");
        }
    }
}
