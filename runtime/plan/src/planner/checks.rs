//! Checks of the request and of the elements against each other. Called by `planner::plan` only.

use std::collections::{BTreeMap, BTreeSet};

use crate::element::Element;
use crate::fault::{Fault, FaultKind, Faults};
use crate::plan::OutputType;
use crate::request::Request;

/// Formats of diskimage-builder that are not made yet: another message than for a typing error.
const LATER: [&str; 7] = ["vhd", "vhdx", "vmdk", "squashfs", "docker", "oci", "aci"];

/// Architectures in Debian's spelling, and the others that diskimage-builder's users write.
const ARCHITECTURES: [&str; 16] = [
    "aarch64", "amd64", "arm64", "armel", "armhf", "i386", "loong64", "mips64el", "powerpc", "ppc64",
    "ppc64el", "ppc64le", "riscv64", "s390x", "sparc64", "x86_64",
];

/// The output types of a request.
pub(super) fn output_types(request: &Request) -> Result<BTreeSet<OutputType>, Faults> {
    let mut faults = Faults::default();
    let mut types = BTreeSet::new();
    for name in request.types.iter().map(|name| name.trim()).filter(|name| !name.is_empty()) {
        match OutputType::ALL.into_iter().find(|kind| kind.name() == name) {
            Some(kind) => {
                types.insert(kind);
            }
            None => {
                let known = OutputType::ALL.map(OutputType::name);
                let fault = if LATER.contains(&name) {
                    Fault::new(FaultKind::Usage, format!("output type `{name}` is not made by this version"))
                } else {
                    Fault::new(FaultKind::Usage, format!("unknown output type `{name}`"))
                };
                let fault = fault.hint(format!("known types: {}", known.join(", ")));
                faults.push(if LATER.contains(&name) { fault } else { fault.suggest(name, known) });
            }
        }
    }
    if types.is_empty() && faults.is_empty() {
        faults.push(Fault::new(FaultKind::Usage, "no output type is asked for").hint("for example -t qcow2"));
    }
    faults.or(types)
}

/// The path prefix of artifacts: with a single type, its suffix may have been written too.
pub(super) fn output_prefix(request: &Request) -> String {
    let output = request.output.as_str();
    match request.types.as_slice() {
        [only] => output.strip_suffix(&format!(".{only}")).unwrap_or(output).to_owned(),
        _ => output.to_owned(),
    }
}

/// Whether there is such an architecture.
pub(super) fn architecture(request: &Request) -> Result<(), Faults> {
    let arch = request.arch.as_str();
    if ARCHITECTURES.contains(&arch) {
        return Ok(());
    }
    Err(Fault::new(FaultKind::Usage, format!("unknown architecture `{arch}`"))
        .suggest(arch, ARCHITECTURES)
        .into())
}

/// No file of a merged directory may come from two elements; directories are merged.
pub(super) fn merged_entries(elements: &[&Element]) -> Result<(), Faults> {
    let mut faults = Faults::default();
    let mut owners: BTreeMap<&str, (&str, bool)> = BTreeMap::new();
    for element in elements {
        for entry in &element.merged {
            let path = entry.trim_end_matches('/');
            let directory = entry.ends_with('/');
            match owners.get(path) {
                Some((_, true)) if directory => {}
                Some((first, _)) => {
                    let message = format!(
                        "There is a duplicated hook in your elements: /{path} (in `{first}` and in `{}`)",
                        element.name
                    );
                    let hint = format!("rename one of the two, or leave out `{first}` or `{}`", element.name);
                    faults.push(Fault::new(FaultKind::Element, message).hint(hint));
                }
                None => {
                    owners.insert(path, (&element.name, directory));
                }
            }
        }
    }
    faults.or(())
}

/// Settings are for typed elements that take part.
pub(super) fn setting_owners(request: &Request, elements: &[&Element]) -> Result<(), Faults> {
    let mut faults = Faults::default();
    for name in request.settings.keys() {
        match elements.iter().find(|element| element.name == *name) {
            Some(element) if element.typed.is_some() => {}
            Some(_) => faults.push(
                Fault::new(FaultKind::Config, format!("`{name}` has no settings: it is a shell element"))
                    .hint("shell elements are configured by variables (DIB_...)"),
            ),
            None => {
                let message = format!("settings for `{name}`, which is not an element of this image");
                let fault =
                    Fault::new(FaultKind::Config, message).hint(format!("add `{name}` to the elements"));
                faults.push(fault.suggest(name, elements.iter().map(|element| element.name.as_str())));
            }
        }
    }
    faults.or(())
}
