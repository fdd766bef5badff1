//! Reads the files that `dib_lint` checks: walks directories, asks git what it ignores and flake8 about Python. Called by the commands
//! `dib-lint` and `dibw element lint`. The checks themselves are `dibw_compat::lint`'s.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use dibw_compat::lint::{self, Exclusions, Finding, LintFile, Room};

/// A directory to be checked.
pub enum Tree {
    /// Every directory in it is an element.
    Elements(PathBuf),
    /// One element.
    Element(PathBuf),
    /// A shell library.
    Library(PathBuf),
}

/// What came of it.
#[derive(Default)]
pub struct Report {
    /// Everything that is wrong.
    pub findings: Vec<Finding>,
    /// What could not be checked.
    pub notes: Vec<String>,
    /// How many files were looked at.
    pub files: usize,
}

/// Directories that are no part of an element.
const SKIPPED: [&str; 2] = [".git", "__pycache__"];

/// Paths in one command line, far below what the kernel takes.
const PATHS_AT_ONCE: usize = 500;

/// Checks all files of the trees that git does not ignore.
pub fn run(trees: &[Tree], everywhere: &Exclusions) -> Result<Report> {
    let mut report = Report::default();
    for tree in trees {
        let (root, room) = match tree {
            Tree::Elements(root) | Tree::Element(root) => (root, Room::Element),
            Tree::Library(root) => (root, Room::Library),
        };
        match tree {
            Tree::Elements(root) => {
                let elements = listing(root)?.into_iter().filter(|path| path.is_dir());
                report.findings.extend(elements.filter_map(|path| without_readme(&path)));
            }
            Tree::Element(root) => report.findings.extend(without_readme(root)),
            Tree::Library(_) => {}
        }
        let mut files = Vec::new();
        walk(root, room, &mut files)?;
        let ignored = ignored_by_git(root, &files);
        files.retain(|file| !ignored.contains(&file.path));
        report.files += files.len();
        report.findings.extend(files.iter().flat_map(|file| lint::check(file, everywhere)));
        python(&files, &mut report)?;
    }
    report.findings.sort();
    report.findings.dedup();
    Ok(report)
}

impl Report {
    /// Prints findings and notes to standard output.
    pub fn print(&self) {
        for Finding { path, line, message, hint } in &self.findings {
            let place = if *line == 0 { path.clone() } else { format!("{path}:{line}") };
            println!("ERROR: {place}: {message}\n  hint: {}", hint.replace('\n', "\n        "));
        }
        for note in &self.notes {
            println!("note: {note}");
        }
    }
}

fn without_readme(element: &Path) -> Option<Finding> {
    let missing = !element.join("README.rst").exists();
    missing.then(|| lint::without_readme(&element.display().to_string()))
}

/// The entries of a directory by name, without those that are no part of elements.
fn listing(directory: &Path) -> Result<Vec<PathBuf>> {
    let context = || format!("listing {}", directory.display());
    let entries = std::fs::read_dir(directory).with_context(context)?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>();
    let mut paths = paths.with_context(context)?;
    paths.retain(|path| !SKIPPED.iter().any(|name| path.ends_with(name)));
    paths.sort();
    Ok(paths)
}

fn walk(directory: &Path, room: Room, files: &mut Vec<LintFile>) -> Result<()> {
    for path in listing(directory)? {
        let metadata = path.symlink_metadata().with_context(|| path.display().to_string())?;
        if metadata.is_dir() {
            walk(&path, room, files)?;
        } else if metadata.is_file() || metadata.is_symlink() {
            let link = metadata.is_symlink();
            let content = if link { Vec::new() } else { read(&path)? };
            let executable = metadata.permissions().mode() & 0o111 != 0;
            files.push(LintFile { path: path.display().to_string(), room, executable, link, content });
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("reading {}", path.display()))
}

/// The paths that git ignores; none outside a work tree, or without git. They are given as arguments: into a pipe that git closes early
/// (outside a work tree) we would write our death.
fn ignored_by_git(root: &Path, files: &[LintFile]) -> BTreeSet<String> {
    let below = |file: &LintFile| Some(Path::new(&file.path).strip_prefix(root).ok()?.to_owned());
    let paths: Vec<PathBuf> = files.iter().filter_map(below).collect();
    let mut ignored = BTreeSet::new();
    for some in paths.chunks(PATHS_AT_ONCE) {
        let git = Command::new("git")
            .args(["-c", "core.quotePath=false", "check-ignore", "--"])
            .args(some)
            .current_dir(root)
            .stdin(Stdio::null())
            .output();
        match git {
            Ok(output) => {
                let names = String::from_utf8_lossy(&output.stdout).into_owned();
                ignored.extend(names.lines().map(|name| root.join(name).display().to_string()));
            }
            Err(error) => tracing::debug!("git check-ignore: {error}"),
        }
    }
    ignored
}

/// Has flake8 look at Python scripts that other tools miss for want of the extension.
fn python(files: &[LintFile], report: &mut Report) -> Result<()> {
    let scripts: Vec<&LintFile> = files.iter().filter(|file| lint::is_python_script(file)).collect();
    for file in &scripts {
        let output = match Command::new("flake8").arg(&file.path).stdin(Stdio::null()).output() {
            Ok(output) => output,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let note = format!("flake8 is not installed: {} Python scripts were skipped", scripts.len());
                report.notes.push(note);
                return Ok(());
            }
            Err(error) => return Err(error).context("starting flake8"),
        };
        if !output.status.success() {
            let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_owned();
            report.findings.push(Finding {
                path: file.path.clone(),
                line: 0,
                message: "flake8 is not content".to_owned(),
                hint: said,
            });
        }
    }
    Ok(())
}
