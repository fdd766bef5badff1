//! The merged hooks tree (`TMP_HOOKS_PATH`): the directories of all classic elements laid over each other, where scripts find `../bin`,
//! `../static` and their neighbours' files. Facts: compat/CONTRACT.md section 2.2. Duplicates were found when planning.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use dibw_plan::Phase;
use dibw_plan::plan::PlannedElement;
use sha2::{Digest, Sha256};

use crate::catalogue::hex;

/// Top-level files and directories of an element that stay out of the tree.
const LEFT_OUT: [&str; 3] = ["tests", "__pycache__", "element.wasm"];

/// Which element a file of the tree came from.
#[derive(Debug, Default)]
pub struct Owners {
    by_path: BTreeMap<PathBuf, String>,
}

impl Owners {
    /// The element of a file, links in the tree followed; none for what a hook made.
    pub fn of(&self, tree: &Path, file: &Path) -> Option<String> {
        let real = file.canonicalize().ok()?;
        let inner = real.strip_prefix(tree.canonicalize().ok()?).ok()?;
        let known = |path: &Path| self.by_path.get(path).cloned();
        inner.ancestors().find_map(known)
    }
}

/// Merges the directories of `elements`, in their order, into `tree`.
///
/// # Errors
/// When a file can't be read or written.
pub fn merge(elements: &[PlannedElement], tree: &Path) -> Result<Owners> {
    make_dir(tree)?;
    let mut owners = Owners::default();
    for element in elements {
        let directory = Path::new(&element.path);
        if directory.is_dir() {
            let mut own = |path: PathBuf| drop(owners.by_path.insert(path, element.name.clone()));
            merge_element(directory, tree, &mut own)
                .with_context(|| format!("hooks of element {}", element.name))?;
        }
    }
    Ok(owners)
}

/// Copies of `tree` to `to` what belongs to `element` or to none: what a `strict` hook may see of it.
///
/// # Errors
/// When a file can't be read or written.
pub fn copy_own(tree: &Path, owners: &Owners, element: &str, to: &Path) -> Result<()> {
    make_dir(to)?;
    for name in names(tree)? {
        let from = tree.join(&name);
        if !from.is_dir() || from.is_symlink() {
            copy(&from, &to.join(&name))?;
            continue;
        }
        make_dir(&to.join(&name))?;
        for entry in names(&from)? {
            let inner = Path::new(&name).join(&entry);
            if owners.by_path.get(&inner).is_none_or(|owner| owner == element) {
                copy(&from.join(&entry), &to.join(&inner))?;
            }
        }
    }
    Ok(())
}

/// Copies of `tree` to `to`, which is emptied before, everything but the programs of the phases: what a hook in the target sees beside itself.
///
/// # Errors
/// When a file can't be read or written.
pub fn without_hooks(tree: &Path, to: &Path) -> Result<()> {
    empty(to)?;
    for name in names(tree)? {
        let from = tree.join(&name);
        let is_phase = Phase::ALL.iter().any(|phase| name == format!("{phase}.d"));
        if !is_phase || !from.is_dir() || from.is_symlink() {
            copy(&from, &to.join(&name))?;
            continue;
        }
        // A directory with nothing else in it would tell which phases have hooks.
        for entry in names(&from)?.iter().filter(|entry| !is_program(&from.join(entry))) {
            make_dir(&to.join(&name))?;
            copy(&from.join(entry), &to.join(&name).join(entry))?;
        }
    }
    Ok(())
}

/// Removes the programs of a directory, and the directory when nothing else is in it.
///
/// # Errors
/// When one can't be removed.
pub fn remove_programs(directory: &Path) -> Result<()> {
    if !directory.is_dir() {
        return Ok(());
    }
    let (programs, others): (Vec<String>, Vec<String>) =
        names(directory)?.into_iter().partition(|name| is_program(&directory.join(name)));
    for program in programs {
        remove_file(directory, Path::new(&program))?;
    }
    match others.is_empty() {
        true => fs::remove_dir(directory).with_context(|| format!("removing {}", directory.display())),
        false => Ok(()),
    }
}

/// Every file of a tree, by its path in it, with a text that stands for what it is.
pub type Snapshot = BTreeMap<PathBuf, String>;

/// Takes one. Empty directories do not count.
///
/// # Errors
/// When a file can't be read.
pub fn snapshot(tree: &Path) -> Result<Snapshot> {
    let mut files = Snapshot::new();
    add_to_snapshot(tree, Path::new(""), &mut files)?;
    Ok(files)
}

fn add_to_snapshot(tree: &Path, inner: &Path, files: &mut Snapshot) -> Result<()> {
    for name in names(&tree.join(inner))? {
        let inner = inner.join(name);
        let path = tree.join(&inner);
        let context = || format!("reading {}", path.display());
        let found = fs::symlink_metadata(&path).with_context(context)?;
        if found.is_dir() {
            add_to_snapshot(tree, &inner, files)?;
            continue;
        }
        let what = if found.is_symlink() {
            format!("link to {}", fs::read_link(&path).with_context(context)?.display())
        } else if found.is_file() {
            let digest = hex(&Sha256::digest(fs::read(&path).with_context(context)?));
            format!("{:o} {digest}", found.permissions().mode())
        } else {
            format!("{:?}", found.file_type())
        };
        files.insert(inner, what);
    }
    Ok(())
}

/// Copies the files at the paths `changed` from one tree to another, over what is there.
///
/// # Errors
/// When a file can't be read or written.
pub fn copy_files<'a>(from: &Path, to: &Path, changed: impl IntoIterator<Item = &'a PathBuf>) -> Result<()> {
    for inner in changed {
        let place = to.join(inner);
        make_dir(place.parent().unwrap_or(to))?;
        copy(&from.join(inner), &place)?;
    }
    Ok(())
}

/// Removes a file of the tree, if it is there.
///
/// # Errors
/// When it can't be removed.
pub fn remove_file(tree: &Path, inner: &Path) -> Result<()> {
    match fs::remove_file(tree.join(inner)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed.with_context(|| format!("removing {}", tree.join(inner).display())),
    }
}

fn empty(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        removed => removed.with_context(|| format!("emptying {}", directory.display()))?,
    }
    make_dir(directory)
}

/// Whether it is, links followed, a regular file that may be executed.
pub fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

fn merge_element(directory: &Path, tree: &Path, own: &mut dyn FnMut(PathBuf)) -> Result<()> {
    for name in names(directory)? {
        let from = directory.join(&name);
        if LEFT_OUT.contains(&name.as_str()) || name.ends_with(".pyc") {
            continue;
        }
        if from.is_dir() {
            let to = tree.join(&name);
            make_dir(&to)?;
            for entry in names(&from)?.into_iter().filter(|entry| !entry.starts_with('.')) {
                copy(&from.join(&entry), &to.join(&entry))?;
                own(Path::new(&name).join(&entry));
            }
        } else {
            copy(&from, &tree.join(&name))?;
        }
    }
    Ok(())
}

/// Copies a file, link or directory as it is; a directory that exists is merged, a file is replaced.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let context = || format!("copying {} to {}", from.display(), to.display());
    let metadata = fs::symlink_metadata(from).with_context(context)?;
    if metadata.is_dir() {
        make_dir(to)?;
        fs::set_permissions(to, metadata.permissions()).with_context(context)?;
        return names(from)?.iter().try_for_each(|name| copy(&from.join(name), &to.join(name)));
    }
    if to.symlink_metadata().is_ok() {
        fs::remove_file(to).with_context(context)?;
    }
    if metadata.is_symlink() {
        return symlink(fs::read_link(from).with_context(context)?, to).with_context(context);
    }
    fs::copy(from, to).with_context(context).map(drop)
}

fn make_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("making {}", path.display()))
}

/// Names in a directory, sorted, so that the result does not depend on the file system.
pub fn names(directory: &Path) -> Result<Vec<String>> {
    let context = || format!("listing {}", directory.display());
    let mut names = fs::read_dir(directory)
        .with_context(context)?
        .map(|entry| Ok(entry.with_context(context)?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_files_replace_earlier_ones_and_directories_merge() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |path: &str| scratch.path().join(path);
        for (path, text) in [
            ("a/install.d/10-x", "a"),
            ("a/static/etc/one", "1"),
            ("a/element.wasm", "no"),
            ("a/tests/t", "no"),
            ("b/static/etc/two", "2"),
            ("b/static/.hidden", "no"),
            ("b/pkg-map", "{}"),
        ] {
            fs::create_dir_all(at(path).parent().unwrap()).unwrap();
            fs::write(at(path), text).unwrap();
        }
        let element = |name: &str| PlannedElement {
            name: name.into(),
            path: at(name).display().to_string(),
            ..PlannedElement::default()
        };
        merge(&[element("a"), element("b")], &at("hooks")).unwrap();
        assert_eq!(names(&at("hooks")).unwrap(), ["install.d", "pkg-map", "static"]);
        assert_eq!(names(&at("hooks/static")).unwrap(), ["etc"]);
        assert_eq!(names(&at("hooks/static/etc")).unwrap(), ["one", "two"]);
    }
}
