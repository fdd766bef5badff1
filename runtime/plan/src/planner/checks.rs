//! Checks of the request and of the elements against each other. Called by `planner::plan` only.

use std::collections::{BTreeMap, BTreeSet};

use dibw_policy::{Decision, Effective, Operation, Policy, decide};

use crate::element::Element;
use crate::fault::{Fault, FaultKind, Faults};
use crate::output::OutputType;
use crate::reference;
use crate::request::Request;

/// In an image with this element no disk format is written: its hooks take care of the disk themselves.
const NO_FINAL_IMAGE: &str = "no-final-image";

/// Formats that qemu-img writes and we don't, with the reason: another message than for a typing error.
const REFUSED: [(&str, &str); 1] = [("luks", "it needs a secret; encrypt the disk where it is used")];

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
            None => faults.push(unknown_type(name)),
        }
    }
    if types.is_empty() && faults.is_empty() {
        faults.push(Fault::new(FaultKind::Usage, "no output type is asked for").hint("for example -t qcow2"));
    }
    faults.or(types)
}

/// Whether the policy lets images leave in these formats. The runtime asks for itself: only a ceiling can refuse it.
pub(super) fn may_emit(types: &BTreeSet<OutputType>, policy: &Policy) -> Result<(), Faults> {
    let own = Effective::of_runtime(policy);
    let mut faults = Faults::default();
    for kind in types {
        match decide(&own, &Operation::EmitImage { format: kind.name().to_owned() }) {
            Decision::Allow { .. } | Decision::WouldDeny(_) => {}
            Decision::Malformed { message } => faults.push(Fault::new(FaultKind::Usage, message)),
            Decision::Deny(denial) => {
                let message = format!("output type `{}`: {denial}", kind.name());
                faults.push(Fault::new(FaultKind::Policy, message).hint(denial.hint));
            }
        }
    }
    faults.or(())
}

fn unknown_type(name: &str) -> Fault {
    let known = OutputType::ALL.map(OutputType::name);
    match REFUSED.into_iter().find(|(refused, _)| *refused == name) {
        Some((_, why)) => Fault::new(FaultKind::Usage, format!("output type `{name}` is not made")).hint(why),
        None => Fault::new(FaultKind::Usage, format!("unknown output type `{name}`"))
            .hint(format!("known types: {}", known.join(", ")))
            .suggest(name, known),
    }
}

/// The types that become files: no disk format of a ramdisk, and none where an element says so.
pub(super) fn written_types(
    request: &Request,
    elements: &[&Element],
    types: &BTreeSet<OutputType>,
) -> BTreeSet<OutputType> {
    let no_disk = request.ramdisk || elements.iter().any(|element| element.name == NO_FINAL_IMAGE);
    types.iter().copied().filter(|kind| !(no_disk && kind.is_disk())).collect()
}

/// The name of a container image and where it is pushed to, each with its tag.
pub(super) fn container_names(
    request: &Request,
    types: &BTreeSet<OutputType>,
) -> Result<(Option<String>, Option<String>), Faults> {
    let mut faults = Faults::default();
    let mut checked = |option: &str, text: Option<&str>| {
        let text = text.filter(|text| !text.is_empty())?;
        reference::with_tag(text)
            .map_err(|why| {
                let fault = Fault::new(FaultKind::Usage, format!("{option} {text}: {why}"));
                faults.push(
                    fault.hint("names look like server, team/server:1.2 or registry.example.com/server"),
                );
            })
            .ok()
    };
    let target = checked("--docker-target", request.docker_target.as_deref());
    let push = request.push.as_deref().map(|text| text.strip_prefix("docker://").unwrap_or(text));
    let push = checked("--push", push);
    let docker = types.contains(&OutputType::Docker);
    if docker && request.docker_target.as_deref().is_none_or(str::is_empty) {
        let fault = Fault::new(FaultKind::Usage, "output type `docker` needs a name for its image");
        faults.push(fault.hint("--docker-target NAME[:TAG]"));
    }
    if request.push.is_some() && !docker {
        let fault = Fault::new(FaultKind::Usage, "--push sends a container image, and none is made");
        faults.push(fault.hint("add the output type docker: -t docker --docker-target NAME[:TAG]"));
    }
    faults.or((target, push))
}

/// The gzip to use in place of our own: `DIB_GZIP_BIN`, program and arguments.
pub(super) fn gzip(request: &Request) -> Vec<String> {
    let words = request.variables.get("DIB_GZIP_BIN").map(String::as_str).unwrap_or_default();
    match words.split_whitespace().map(str::to_owned).collect::<Vec<_>>() {
        words if words == ["gzip"] => Vec::new(),
        words => words,
    }
}

/// Entries smaller than this are left out of a short report of sizes.
const LARGE: u64 = 10 << 20;

/// From which size on entries of the target are reported: `DIB_SHOW_IMAGE_USAGE`, `DIB_SHOW_IMAGE_USAGE_FULL`.
pub(super) fn reported_usage(request: &Request) -> Option<u64> {
    let is_on =
        |name: &str| request.variables.get(name).is_some_and(|value| !matches!(value.trim(), "" | "0"));
    if is_on("DIB_SHOW_IMAGE_USAGE_FULL") {
        return Some(0);
    }
    is_on("DIB_SHOW_IMAGE_USAGE").then_some(LARGE)
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
