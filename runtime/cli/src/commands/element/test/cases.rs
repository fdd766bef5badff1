//! Finds test elements: `ELEMENT/test-elements/CASE/` on the elements path.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// A test element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// The element that it tests.
    pub element: String,
    /// Its name.
    pub name: String,
    /// The directory it lies in, which comes first on the elements path.
    pub directory: PathBuf,
    /// `disk-image-create` or `ramdisk-image-create`, from the file `element-type`.
    pub program: &'static str,
    /// Output types, from the file `test-output-formats`.
    pub types: String,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.element, self.name)
    }
}

/// All of the path, by element and name. Of elements of one name the first on the path counts.
pub fn find(path: &[PathBuf]) -> Result<Vec<Case>> {
    let mut elements: BTreeMap<String, PathBuf> = BTreeMap::new();
    for directory in path {
        for element in directories(directory)? {
            elements.entry(dibw_engine::catalogue::name_of(&element)).or_insert(element);
        }
    }
    let mut cases = Vec::new();
    for (name, element) in elements {
        let directory = element.join("test-elements");
        if directory.is_dir() {
            for case in directories(&directory)? {
                cases.push(read(&name, &directory, &case)?);
            }
        }
    }
    Ok(cases)
}

fn directories(directory: &Path) -> Result<Vec<PathBuf>> {
    let context = || format!("listing {}", directory.display());
    let entries = std::fs::read_dir(directory).with_context(context)?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>();
    let mut paths = paths.with_context(context)?;
    paths.retain(|path| path.is_dir());
    paths.sort();
    Ok(paths)
}

fn read(element: &str, directory: &Path, case: &Path) -> Result<Case> {
    let program = match word(&case.join("element-type"))?.as_deref() {
        None | Some("disk") => "disk-image-create",
        Some("ramdisk") => "ramdisk-image-create",
        Some(other) => bail!("{}/element-type: `{other}` is neither disk nor ramdisk", case.display()),
    };
    Ok(Case {
        element: element.to_owned(),
        name: dibw_engine::catalogue::name_of(case),
        directory: directory.to_owned(),
        program,
        types: word(&case.join("test-output-formats"))?.unwrap_or_else(|| "tar".to_owned()),
    })
}

/// What a file of one line says; none without the file, or when it is empty.
fn word(file: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", file.display())),
    }
}
