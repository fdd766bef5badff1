//! The merged hooks tree (`TMP_HOOKS_PATH`): the directories of all classic elements laid over each other, where scripts find `../bin`,
//! `../static` and their neighbours' files. Facts: compat/CONTRACT.md section 2.2. Duplicates were found when planning.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result};
use dibw_plan::plan::PlannedElement;

/// Top-level files and directories of an element that stay out of the tree.
const LEFT_OUT: [&str; 3] = ["tests", "__pycache__", "element.wasm"];

/// Merges the directories of `elements`, in their order, into `tree`.
///
/// # Errors
/// When a file can't be read or written.
pub fn merge(elements: &[PlannedElement], tree: &Path) -> Result<()> {
    make_dir(tree)?;
    for element in elements {
        let directory = Path::new(&element.path);
        if directory.is_dir() {
            merge_element(directory, tree).with_context(|| format!("hooks of element {}", element.name))?;
        }
    }
    Ok(())
}

fn merge_element(directory: &Path, tree: &Path) -> Result<()> {
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
