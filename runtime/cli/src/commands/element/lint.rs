//! `dibw element lint`: the checks of `dib-lint` on single elements.

use std::path::{Path, PathBuf};

use dibw_plan::{Fault, FaultKind, Faults};

use crate::commands::{End, Outcome};
use crate::lint::Tree;

/// Checks the elements and prints what is wrong; a finding is exit code 1.
pub fn run(elements: &[String]) -> Outcome {
    let trees = trees(elements)?;
    let report = crate::lint::run(&trees, &crate::names::lint_exclusions()?)?;
    report.print();
    match report.findings.len() {
        0 => Ok(()),
        1 => Err(failed("1 finding".to_owned())),
        count => Err(failed(format!("{count} findings"))),
    }
}

fn failed(what: String) -> End {
    eprintln!("error: {what}");
    End::Status(FaultKind::Build.exit_code())
}

/// A directory by its path or by an element's name; without any, all that are on the caller's ELEMENTS_PATH.
fn trees(elements: &[String]) -> Result<Vec<Tree>, Faults> {
    let path = dibw_engine::catalogue::elements_path()?;
    if elements.is_empty() {
        let given = std::env::var("ELEMENTS_PATH").unwrap_or_default();
        let trees: Vec<Tree> = given
            .split(':')
            .filter(|entry| !entry.is_empty())
            .map(|entry| Tree::Elements(entry.into()))
            .collect();
        return match trees.is_empty() {
            true => Err(Fault::new(FaultKind::Usage, "nothing to check")
                .hint("name elements or directories, or set ELEMENTS_PATH")
                .into()),
            false => Ok(trees),
        };
    }
    let mut faults = Faults::default();
    let trees = elements.iter().filter_map(|element| faults.take(directory(element, &path)));
    let trees = trees.map(Tree::Element).collect();
    faults.or(trees)
}

fn directory(element: &str, path: &[PathBuf]) -> Result<PathBuf, Faults> {
    if element.contains('/') {
        let given = Path::new(element);
        let message = || format!("{element} is not a directory");
        return match given.is_dir() {
            true => Ok(given.to_owned()),
            false => Err(Fault::new(FaultKind::Element, message()).into()),
        };
    }
    let found = path.iter().map(|entry| entry.join(element)).find(|found| found.is_dir());
    found.ok_or_else(|| {
        Fault::new(FaultKind::Element, format!("Element '{element}' not found"))
            .hint(format!("for a directory write ./{element}"))
            .into()
    })
}
