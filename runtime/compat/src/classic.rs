//! A classic element directory, as a listing in memory -> an [`Element`]. Called by the engine's catalogue, which does the reading.
//! Facts: compat/CONTRACT.md sections 1.4 and 2.1 to 2.4.

use dibw_plan::order::{is_environment_name, is_hook_name};
use dibw_plan::{Element, Fault, FaultKind, Faults, NamedText, Phase};
use sha2::{Digest, Sha256};

/// The listing of an element's directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ElementFiles {
    /// The name of the directory, links resolved.
    pub name: String,
    /// Its path.
    pub path: String,
    /// Everything below it.
    pub entries: Vec<FileEntry>,
}

/// One entry of the listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// Relative to the element, without a leading `./`.
    pub path: String,
    /// What it is.
    pub kind: Kind,
    /// Permission bits; of a link to a file, those of the file.
    pub mode: u32,
    /// SHA-256 of the content of a file or of what a link leads to, hexadecimal.
    pub sha256: Option<String>,
    /// The content, where it is [`wanted`].
    pub content: Option<Vec<u8>>,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Kind {
    File,
    Directory,
    Symlink {
        target: String,
        /// It leads to a regular file.
        file: bool,
    },
}

impl FileEntry {
    fn is_file(&self) -> bool {
        match self.kind {
            Kind::File => true,
            Kind::Directory => false,
            Kind::Symlink { file, .. } => file,
        }
    }

    fn is_executable(&self) -> bool {
        self.mode & 0o111 != 0
    }
}

/// Directories that belong to the element's own tests and tools and are merged nowhere.
const NOT_MERGED: [&str; 2] = ["tests", "__pycache__"];

/// Prefix of the deprecated package lists in phase directories.
const LIST_PREFIX: &str = "package-installs-";

/// Whether [`parse`] reads the content of that file.
pub fn wanted(path: &str) -> bool {
    match path.split_once('/') {
        None => {
            matches!(
                path,
                "element-deps"
                    | "element-provides"
                    | "host-tools"
                    | "package-installs.json"
                    | "package-installs.yaml"
                    | "pkg-map"
                    | "svc-map"
            ) || block_device_arch(path).is_some()
        }
        Some((directory, name)) => phase_of(directory).is_some() && name.starts_with(LIST_PREFIX),
    }
}

/// The element in those files. Its typed part is not looked at.
///
/// # Errors
/// Every line of `element-deps`, `element-provides` or `host-tools` that is no name; known files that are not UTF-8.
pub fn parse(files: &ElementFiles) -> Result<Element, Faults> {
    let mut faults = Faults::default();
    let mut element = Element {
        name: files.name.clone(),
        path: files.path.clone(),
        digest: digest(&files.entries),
        ..Element::default()
    };
    for entry in &files.entries {
        match entry.path.split_once('/') {
            None if entry.is_file() => {
                if let Some(text) = text_of(files, entry, &mut faults) {
                    known_file(&mut element, &entry.path, text, &mut faults);
                }
            }
            Some((directory, name)) if !name.contains('/') => {
                let list = text_of(files, entry, &mut faults);
                directory_entry(&mut element, directory, name, entry, list);
            }
            None | Some(_) => {}
        }
    }
    for names in element.hooks.values_mut() {
        names.sort_by(|left, right| dibw_plan::order::compare(left, right));
    }
    element.environment.sort();
    element.merged.sort();
    faults.or(element)
}

fn text_of(files: &ElementFiles, entry: &FileEntry, faults: &mut Faults) -> Option<NamedText> {
    if !wanted(&entry.path) || !entry.is_file() {
        return None;
    }
    let name = format!("{}/{}", files.path, entry.path);
    let content = entry.content.clone()?;
    match String::from_utf8(content) {
        Ok(text) => Some(NamedText { name, text }),
        Err(_) => {
            faults.push(Fault::new(FaultKind::Element, format!("{name} is not text in UTF-8")));
            None
        }
    }
}

/// A file at the top of the element.
fn known_file(element: &mut Element, path: &str, text: NamedText, faults: &mut Faults) {
    match path {
        "element-deps" => element.depends = faults.take(names(&text)).unwrap_or_default(),
        "element-provides" => element.provides = faults.take(names(&text)).unwrap_or_default(),
        "host-tools" => element.host_tools = faults.take(names(&text)).unwrap_or_default(),
        // JSON is preferred where an element has both.
        "package-installs.json" => element.package_installs = Some(text),
        "package-installs.yaml" => element.package_installs = element.package_installs.take().or(Some(text)),
        "pkg-map" => element.pkg_map = Some(text),
        "svc-map" => element.svc_map = Some(text),
        other => {
            if let Some(arch) = block_device_arch(other) {
                element.block_device.insert(arch.to_owned(), text);
            }
        }
    }
}

/// An entry of one of the element's directories.
fn directory_entry(
    element: &mut Element,
    directory: &str,
    name: &str,
    entry: &FileEntry,
    list: Option<NamedText>,
) {
    if name.starts_with('.') || directory.starts_with('.') || NOT_MERGED.contains(&directory) {
        return;
    }
    let suffix = if entry.kind == Kind::Directory { "/" } else { "" };
    element.merged.push(format!("{directory}/{name}{suffix}"));
    if !entry.is_file() {
        return;
    }
    if directory == "environment.d" && is_environment_name(name) {
        element.environment.push(name.to_owned());
    }
    let Some(phase) = phase_of(directory) else { return };
    match list {
        Some(list) if !entry.is_executable() => {
            element.package_lists.insert(phase, list);
        }
        Some(_) | None if entry.is_executable() && is_hook_name(name) => {
            element.hooks.entry(phase).or_default().push(name.to_owned());
        }
        Some(_) | None => {}
    }
}

/// The phase whose hooks are in that directory.
fn phase_of(directory: &str) -> Option<Phase> {
    Phase::from_name(directory.strip_suffix(".d")?)
}

/// `<arch>` of `block-device-<arch>.yaml`.
fn block_device_arch(name: &str) -> Option<&str> {
    name.strip_prefix("block-device-")?.strip_suffix(".yaml").filter(|arch| !arch.is_empty())
}

/// One name a line; blank lines are nothing. A comment would be taken for a name by diskimage-builder, so it is told.
fn names(source: &NamedText) -> Result<Vec<String>, Faults> {
    let mut faults = Faults::default();
    let mut names = Vec::new();
    for (index, line) in source.text.lines().enumerate() {
        let name = line.trim();
        if name.is_empty() {
            continue;
        }
        if name.contains('#') || name.contains(char::is_whitespace) {
            let fault = Fault::new(FaultKind::Element, format!("`{name}` is not a name"));
            faults.push(fault.at(&source.name, index + 1, 0).hint("one name a line, without comments"));
        } else {
            names.push(name.to_owned());
        }
    }
    faults.or(names)
}

/// SHA-256 over the path, kind, mode and content of every entry, in the order of the paths.
fn digest(entries: &[FileEntry]) -> String {
    let mut sorted: Vec<&FileEntry> = entries.iter().collect();
    sorted.sort_by(|left, right| left.path.cmp(&right.path));
    let mut hasher = Sha256::new();
    for entry in sorted {
        let content = entry.sha256.as_deref().unwrap_or_default();
        let what = match &entry.kind {
            Kind::File => format!("file {:o} {content}", entry.mode),
            Kind::Directory => format!("directory {:o}", entry.mode),
            Kind::Symlink { target, .. } => format!("link {target}\0{content}"),
        };
        // A NUL is in no path, so that no two listings give the same bytes.
        hasher.update(format!("{}\0{what}\0\n", entry.path));
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
