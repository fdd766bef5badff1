//! Which block device configuration is used, and the disk it comes to. Called by `planner::plan` only.
//! Facts: compat/CONTRACT.md section 5.1, made deterministic: two elements with different configurations are a fault.

use crate::element::Element;
use crate::fault::{Fault, FaultKind, Faults};
use crate::layout::{Layout, RootDefaults, SizeRules};
use crate::plan::DiskPlan;
use crate::request::{NamedText, Request};

/// The configuration when neither the user nor an element has one: a file system on the whole disk.
const WHOLE_DISK: &str = "\
- local_loop:
    name: image0
    mkfs:
      name: mkfs_root
      mount:
        mount_point: /
        fstab:
          options: defaults
          fsck-passno: 1
";

/// The disk, unless its configuration is faulty.
pub(super) fn choose(request: &Request, elements: &[&Element], faults: &mut Faults) -> Option<DiskPlan> {
    let source = faults.take(source(request, elements))?;
    let root = RootDefaults {
        fs_type: request.fs_type.clone(),
        label: request.root_label.clone(),
        options: request.mkfs_options.clone(),
    };
    let layout = faults.take(Layout::parse(&source.text, &source.name, &root))?;
    let size = SizeRules {
        image_size: request.image_size,
        extra_size: request.image_extra_size,
        journal_mib: request.journal_mib,
        root_fstype: layout.root_fstype().unwrap_or_default().to_owned(),
        has_efi: elements.iter().any(|element| element.name == "block-device-efi"),
    };
    Some(DiskPlan { layout, source: source.name, size })
}

/// The text: the user's, else the one of an element, else the whole disk.
fn source(request: &Request, elements: &[&Element]) -> Result<NamedText, Faults> {
    if let Some(given) = &request.block_device {
        return Ok(given.clone());
    }
    let arch = match request.arch.as_str() {
        "ppc64le" => "ppc64el",
        arch => arch,
    };
    let of_element = |element: &&Element| {
        let texts = &element.block_device;
        let text = texts.get(arch).or_else(|| texts.get("default"))?;
        Some((element.name.clone(), text.clone()))
    };
    let mut found = elements.iter().filter_map(of_element);
    let Some((first, text)) = found.next() else {
        return Ok(NamedText { name: "the built-in layout".to_owned(), text: WHOLE_DISK.to_owned() });
    };
    let mut faults = Faults::default();
    for (other, _) in found.filter(|(_, other)| other.text != text.text) {
        let message = format!("two elements say how the disk is made: `{first}` and `{other}`");
        faults.push(
            Fault::new(FaultKind::Element, message)
                .hint(format!("keep one of `{first}` and `{other}`, or give the layout with --block-device FILE")),
        );
    }
    faults.or(text)
}
