//! The variables of hooks that are known before the build. The engine adds its paths. Called by `planner::plan` only.
//! Facts: compat/CONTRACT.md sections 1.3 and 4.

use std::collections::BTreeMap;

use super::checks;
use crate::element::{self, Element};
use crate::plan::DiskPlan;
use crate::request::{Checksum, Request};

/// The caller's variables, and over them what the request and the elements come to.
pub(super) fn known_before_the_build(
    request: &Request,
    elements: &[&Element],
    disk: Option<&DiskPlan>,
) -> BTreeMap<String, String> {
    let mut variables = request.variables.clone();
    let names: Vec<&str> = elements.iter().map(|element| element.name.as_str()).collect();
    let mut set = |name: &str, value: String| {
        variables.insert(name.to_owned(), value);
    };
    set("ARCH", request.arch.clone());
    set("DIB_CHECKSUM", checksums(request));
    set("DIB_OFFLINE", if request.offline { "1" } else { "" }.to_owned());
    set("FS_TYPE", request.fs_type.clone());
    set("IMAGE_ELEMENT", names.join(" "));
    set("IMAGE_ELEMENT_YAML", element::paths_yaml(elements.iter().copied()));
    set("IMAGE_NAME", checks::output_prefix(request));
    set("LC_ALL", "C".to_owned());
    if request.source_date_epoch > 0 || !request.classic {
        set("SOURCE_DATE_EPOCH", request.source_date_epoch.to_string());
    }
    if let Some(disk) = disk {
        let layout = &disk.layout;
        set("DIB_BOOT_LABEL", layout.boot_label().unwrap_or_default().to_owned());
        set("DIB_MOUNTPOINTS", layout.mount_points().join("|"));
        set("DIB_ROOT_FSTYPE", layout.root_fstype().unwrap_or_default().to_owned());
        set("DIB_ROOT_LABEL", layout.root_label().unwrap_or_default().to_owned());
    }
    // Never more than a hint, and never what -t says.
    variables.entry("IMAGE_TYPE".to_owned()).or_insert_with(|| "qcow2".to_owned());
    variables.entry("DIB_DEBUG_TRACE".to_owned()).or_insert_with(|| "0".to_owned());
    variables
}

/// As the classic variable says it: `0`, `1` for all, or the names.
fn checksums(request: &Request) -> String {
    let md5 = request.checksums.contains(&Checksum::Md5);
    let sha256 = request.checksums.contains(&Checksum::Sha256);
    match (md5, sha256) {
        (true, true) => "1",
        (true, false) => "md5",
        (false, true) => "sha256",
        (false, false) => "0",
    }
    .to_owned()
}
