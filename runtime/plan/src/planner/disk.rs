//! Which block device configuration is used, and the disk it comes to. Called by `planner::plan` only.
//! Facts: compat/CONTRACT.md section 5.1, made deterministic: two elements with different configurations are a fault.

use std::collections::BTreeSet;

use dibw_policy::{Decision, Operation, decide};

use crate::element::Element;
use crate::fault::{Fault, FaultKind, Faults};
use crate::layout::{self, FALLBACK, FALLBACK_NAME, LayoutParameters, RootDefaults, SizeRules};
use crate::plan::{DiskPlan, PlannedElement};
use crate::request::{NamedText, Request};

/// Bytes kept for an EFI system partition beside the size that the user gave.
const EFI_ROOM: u64 = crate::size::EFI_MIB * crate::size::MIB;

/// The disk, unless its configuration is faulty.
pub(super) fn choose(
    request: &Request,
    elements: &[&Element],
    planned: &[PlannedElement],
    faults: &mut Faults,
) -> Option<DiskPlan> {
    let max_online_resize = request.variables.get("MAX_ONLINE_RESIZE").filter(|text| !text.is_empty());
    let root = RootDefaults {
        fstype: request.fs_type.clone(),
        label: request.root_label.clone(),
        opts: request.mkfs_options.clone(),
        ext4_opts: layout::ext4_opts(request.journal_mib, max_online_resize.map(String::as_str)),
    };
    let source = faults.take(source(request, elements, planned, &root))?;
    let parameters = LayoutParameters {
        file: &source.name,
        root: &root,
        seed: request.seed.as_bytes(),
        sector_size: faults.take(sector_size(request)).flatten(),
    };
    let layout = faults.take(layout::parse(&source.text, &parameters))?;
    let has_efi = elements.iter().any(|element| element.name.starts_with("block-device-efi"));
    // diskimage-builder adds the room of an EFI system partition to a size that is given, too.
    let beside = if request.classic && has_efi { EFI_ROOM } else { 0 };
    let size = SizeRules {
        image_size: request.image_size.map(|bytes| bytes.saturating_add(beside)),
        extra_size: request.image_extra_size,
        journal_mib: request.journal_mib,
        root_fstype: layout.root_fstype().unwrap_or_default().to_owned(),
        has_efi,
        classic: request.classic,
    };
    Some(DiskPlan { layout, source: source.name, text: source.text, size })
}

/// What keeps the disk from being made: only looked at when there is to be one.
pub(super) fn check(disk: &DiskPlan) -> Faults {
    let given = disk.size.image_size.map(|_| disk.layout.image_size(0, &disk.size));
    disk.layout.check(given)
}

/// The text: the user's, else the one of an element, else the whole disk.
fn source(
    request: &Request,
    elements: &[&Element],
    planned: &[PlannedElement],
    root: &RootDefaults,
) -> Result<NamedText, Faults> {
    if let Some(given) = &request.block_device {
        return Ok(given.clone());
    }
    let arch = match request.arch.as_str() {
        "ppc64le" => "ppc64el",
        arch => arch,
    };
    let mut faults = Faults::default();
    let mut found: Vec<(&str, NamedText)> = Vec::new();
    for element in elements {
        let texts = &element.block_device;
        let file = texts.get(arch).or_else(|| texts.get("default")).cloned();
        let contributed = contributed(element);
        if let (Some(file), Some(_)) = (&file, &contributed) {
            let message = format!(
                "`{}` says twice how the disk is made: in {} and in its component",
                element.name, file.name
            );
            faults.push(
                Fault::new(FaultKind::Element, message)
                    .hint(format!("keep {}, or `layout:` of its `element!`", file.name)),
            );
        }
        if let Some(text) = &contributed {
            faults.take(may_contribute(element, planned, text, root));
        }
        found.extend(file.or(contributed).map(|text| (element.name.as_str(), text)));
    }
    let Some((first, text)) = found.first() else {
        return faults.or(NamedText { name: FALLBACK_NAME.to_owned(), text: FALLBACK.to_owned() });
    };
    for (other, _) in found.iter().filter(|(_, other)| other.text != text.text) {
        let message = format!("two elements say how the disk is made: `{first}` and `{other}`");
        faults.push(Fault::new(FaultKind::Element, message).hint(format!(
            "keep one of `{first}` and `{other}`, or give the layout with --block-device FILE"
        )));
    }
    faults.or(text.clone())
}

/// The layout in an element's component.
fn contributed(element: &Element) -> Option<NamedText> {
    let typed = element.typed.as_ref()?;
    let text = typed.manifest.layout.clone()?;
    Some(NamedText { name: format!("{} (layout)", typed.component), text })
}

/// Whether the policy lets the element contribute each kind of node in its layout. A text that makes no sense is refused when it is read.
fn may_contribute(
    element: &Element,
    planned: &[PlannedElement],
    text: &NamedText,
    root: &RootDefaults,
) -> Result<(), Faults> {
    let mut faults = Faults::default();
    let component =
        planned.iter().find(|known| known.name == element.name).and_then(|known| known.component.as_ref());
    let nodes = layout::flatten(&text.text, &text.name, root).unwrap_or_default();
    let kinds: BTreeSet<&str> = nodes.iter().map(|node| node.plugin.name()).collect();
    // Without a component that can be planned there is a fault already.
    for (component, kind) in
        component.into_iter().flat_map(|component| kinds.iter().map(move |kind| (component, kind)))
    {
        let operation = Operation::ContributeLayout { kind: (*kind).to_owned() };
        match decide(&component.effective, &operation) {
            Decision::Allow { .. } | Decision::WouldDeny(_) => {}
            Decision::Malformed { message } => faults.push(Fault::new(FaultKind::Layout, message)),
            Decision::Deny(denial) => {
                let message = format!("{}: {denial}", element.name);
                faults.push(Fault::new(FaultKind::Policy, message).hint(denial.hint));
            }
        }
    }
    faults.or(())
}

/// `DIB_BLOCK_SIZE`, which beats what the configuration says.
fn sector_size(request: &Request) -> Result<Option<u32>, Faults> {
    let Some(text) = request.variables.get("DIB_BLOCK_SIZE").filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    text.parse().map(Some).map_err(|_| {
        let message = format!("DIB_BLOCK_SIZE={text} is no size of a sector");
        Fault::new(FaultKind::Layout, message).hint("use 512 or 4096").into()
    })
}
