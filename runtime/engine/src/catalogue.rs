//! Reads elements from disk into the catalogue: directories and lone `.wasm` files on the elements path, and those given as arguments.
//! Parsing is `dibw-compat`'s and `dibw-host`'s; here is only the reading.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use dibw_compat::classic::{ElementFiles, FileEntry, Kind, parse, wanted};
use dibw_plan::{Catalogue, Element, Fault, FaultKind, Faults, Typed};
use sha2::{Digest, Sha256};

/// The elements path: `ELEMENTS_PATH` of the caller, then what dibw ships. Earlier entries override later ones.
///
/// # Errors
/// An entry that is not a directory.
pub fn elements_path() -> Result<Vec<PathBuf>, Faults> {
    let mut faults = Faults::default();
    let given = std::env::var("ELEMENTS_PATH").unwrap_or_default();
    let mut path: Vec<PathBuf> = Vec::new();
    for entry in given.split(':').filter(|entry| !entry.is_empty()) {
        if !Path::new(entry).is_dir() {
            let message = format!("ELEMENTS_PATH entry '{entry}' is not a directory ");
            faults.push(Fault::new(FaultKind::Config, message));
        }
        path.push(entry.into());
    }
    path.extend(shipped());
    faults.or(path)
}

/// Where dibw's own elements are: beside an installed program, or in the source tree it was built in.
fn shipped() -> Vec<PathBuf> {
    if let Some(given) = std::env::var_os("DIBW_ELEMENTS") {
        return std::env::split_paths(&given).collect();
    }
    let Ok(program) = std::env::current_exe() else { return Vec::new() };
    let Some(bin) = program.parent() else { return Vec::new() };
    [
        bin.join("../share/dibw/elements"),
        bin.join("../lib/dibw/elements"),
        bin.join("../../elements"),
        bin.join("../../plugins/target/elements"),
    ]
    .into_iter()
    .filter_map(|path| path.canonicalize().ok())
    .collect()
}

/// Reads every element on `path`, and `given` directories and components, which override all.
///
/// # Errors
/// An entry that can't be listed, and all faults of `given`. Elements on the path that can't be read are kept apart.
pub fn read(path: &[PathBuf], given: &[PathBuf]) -> Result<Catalogue, Faults> {
    let mut faults = Faults::default();
    let (mut elements, mut broken) = (BTreeMap::new(), BTreeMap::new());
    for directory in path.iter().rev() {
        for entry in entries(directory, &mut faults) {
            let mut own = Faults::default();
            let name = name_of(&entry);
            match read_entry(&entry, &mut own) {
                Some(element) => {
                    broken.remove(&name);
                    elements.insert(name, element);
                }
                None if own.is_empty() => {}
                None => {
                    elements.remove(&name);
                    broken.insert(name, own);
                }
            }
        }
    }
    for entry in given {
        if !entry.exists() {
            faults.push(Fault::new(FaultKind::Element, format!("no element at {}", entry.display())));
        } else if let Some(element) = read_entry(entry, &mut faults) {
            elements.insert(element.name.clone(), element);
        } else {
            let message = format!("{} is neither an element directory nor a .wasm file", entry.display());
            faults.push(Fault::new(FaultKind::Element, message));
        }
    }
    faults.or(Catalogue { elements, broken })
}

/// Elements on `path` that hide others of the same name, with those that they hide, in the order in which it happens.
/// A directory that can't be listed is [`read`]'s to tell.
pub fn overrides(path: &[PathBuf]) -> Vec<(PathBuf, PathBuf)> {
    let mut faults = Faults::default();
    let mut known: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut hiding = Vec::new();
    for entry in path.iter().rev().flat_map(|directory| entries(directory, &mut faults)) {
        let Ok(real) = entry.canonicalize() else { continue };
        if !real.is_dir() {
            continue;
        }
        if let Some(old) = known.insert(name_of(&real), real.clone()).filter(|old| *old != real) {
            hiding.push((real, old));
        }
    }
    hiding
}

/// The name of the element at a path: that of its real directory, or of its file without `.wasm`.
pub fn name_of(path: &Path) -> String {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let name = if real.is_dir() { real.file_name() } else { real.file_stem() };
    name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The first line of text of an element's README.
pub fn readme_summary(element: &Element) -> Option<String> {
    let readme = ["README.md", "README.rst"].map(|name| Path::new(&element.path).join(name));
    let text = readme.iter().find_map(|path| fs::read_to_string(path).ok())?;
    let line = |line: &&str| line.starts_with(|c: char| c.is_alphanumeric() || c == '`');
    text.lines().map(str::trim).filter(|text| *text != element.name).find(line).map(str::to_owned)
}

fn entries(directory: &Path, faults: &mut Faults) -> Vec<PathBuf> {
    match crate::hooks_tree::names(directory) {
        Ok(names) => names.iter().map(|name| directory.join(name)).collect(),
        Err(error) => {
            faults.push(Fault::new(FaultKind::Config, format!("{error:#}")));
            Vec::new()
        }
    }
}

/// An element directory or a component file; none for anything else.
fn read_entry(path: &Path, faults: &mut Faults) -> Option<Element> {
    let path = path.canonicalize().ok()?;
    if path.is_dir() {
        return read_directory(&path, faults);
    }
    if path.extension().is_some_and(|extension| extension == "wasm") {
        let typed = faults.take(read_component(&path))?;
        return Some(Element {
            name: name_of(&path),
            path: path.display().to_string(),
            digest: typed.digest.clone(),
            typed: Some(typed),
            ..Element::default()
        });
    }
    None
}

fn read_directory(directory: &Path, faults: &mut Faults) -> Option<Element> {
    let mut entries = Vec::new();
    if let Err(error) = list(directory, "", &mut entries) {
        faults.push(Fault::new(
            FaultKind::Element,
            format!("reading element {}: {error}", directory.display()),
        ));
        return None;
    }
    let files = ElementFiles { name: name_of(directory), path: directory.display().to_string(), entries };
    let mut element = faults.take(parse(&files))?;
    let component = directory.join("element.wasm");
    if component.exists() {
        element.typed = Some(faults.take(read_component(&component))?);
    }
    Some(element)
}

/// Lists a directory, depth first, with the contents that planning reads and the digests of all.
fn list(root: &Path, below: &str, entries: &mut Vec<FileEntry>) -> std::io::Result<()> {
    let mut names: Vec<_> = fs::read_dir(root.join(below))?
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_, _>>()?;
    names.sort();
    for name in names {
        let path = if below.is_empty() { name } else { format!("{below}/{name}") };
        let full = root.join(&path);
        let metadata = fs::symlink_metadata(&full)?;
        let mode = metadata.permissions().mode() & 0o7777;
        let mut entry = FileEntry { path: path.clone(), kind: Kind::File, mode, sha256: None, content: None };
        if metadata.is_dir() {
            entry.kind = Kind::Directory;
            entries.push(entry);
            list(root, &path, entries)?;
            continue;
        }
        let behind = fs::metadata(&full).ok().filter(fs::Metadata::is_file);
        if metadata.is_symlink() {
            let target = fs::read_link(&full)?.to_string_lossy().into_owned();
            entry.kind = Kind::Symlink { target, file: behind.is_some() };
            entry.mode = behind.as_ref().map_or(mode, |file| file.permissions().mode() & 0o7777);
        } else if !metadata.is_file() {
            continue;
        }
        if behind.is_some() {
            let content = fs::read(&full)?;
            entry.sha256 = Some(hex(&Sha256::digest(&content)));
            entry.content = wanted(&path).then_some(content);
        }
        entries.push(entry);
    }
    Ok(())
}

fn read_component(path: &Path) -> Result<Typed, Faults> {
    let fault = |error: String| {
        Faults::from(Fault::new(FaultKind::Element, format!("component {}: {error}", path.display())))
    };
    let bytes = dibw_host::read_file(path).map_err(|error| fault(format!("{error:#}")))?;
    let manifest = dibw_host::read_manifest(&bytes).map_err(|error| fault(format!("{error:#}")))?;
    Ok(Typed {
        component: path.display().to_string(),
        digest: hex(&Sha256::digest(&bytes)),
        manifest,
        signers: Vec::new(),
    })
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
