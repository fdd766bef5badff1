//! Logical volumes (`lvm`): reading and rules.
//! Called by `layout::parse`.

use dibw_policy::yaml::Spot;
use serde::{Deserialize, Serialize};

use super::device::{Device, Devices};
use super::flatten::FlatNode;
use super::graph::{GraphNode, NodeKind};
use super::images::size_text;
use super::source::{Fields, Source};
use crate::size::{MIB, parse_absolute};

/// LVM's default extent; sizes are rounded down to it.
const EXTENT: u64 = 4 * MIB;

/// One `lvm` entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lvm {
    /// Its name.
    pub name: String,
    /// Made first.
    pub physical: Vec<PhysicalVolume>,
    /// Made second.
    pub groups: Vec<VolumeGroup>,
    /// Made third, in this order.
    pub logical: Vec<LogicalVolume>,
}

/// A device given to LVM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhysicalVolume {
    /// Its name.
    pub name: String,
    /// The device.
    pub device: Device,
    /// Further arguments of pvcreate.
    pub options: Vec<String>,
}

/// A volume group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeGroup {
    /// Its name.
    pub name: String,
    /// Names of its physical volumes.
    pub members: Vec<String>,
    /// Further arguments of vgcreate.
    pub options: Vec<String>,
}

/// How large a logical volume is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VolumeSize {
    /// Bytes, a multiple of 4 MiB.
    Bytes(u64),
    /// As `lvcreate -l` takes it: `28%VG`.
    Extents(String),
}

/// A kind of thin provisioning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names of lvcreate --type")]
pub enum VolumeType {
    Thin,
    ThinPool,
}

/// A logical volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogicalVolume {
    /// Its name.
    pub name: String,
    /// Its volume group.
    pub group: String,
    /// Its size; virtual for a thin volume.
    pub size: VolumeSize,
    /// The size as it is configured, when it is given in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_as_written: Option<String>,
    /// Thin provisioning.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<VolumeType>,
    /// The pool of a thin volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thin_pool: Option<String>,
    /// Further arguments of lvcreate.
    pub options: Vec<String>,
}

/// An entry as read: what its physical volumes stand on is resolved when all nodes are known.
#[derive(Debug)]
pub(super) struct LvmDraft {
    name: String,
    physical: Vec<PhysicalDraft>,
    groups: Vec<VolumeGroup>,
    pub(super) logical: Vec<LogicalVolume>,
}

#[derive(Debug)]
struct PhysicalDraft {
    name: String,
    base: String,
    options: Vec<String>,
    spot: Spot,
}

impl LvmDraft {
    /// The entry with its devices. Faults: a base that is no block device.
    pub(super) fn resolve(self, devices: &Devices, source: &mut Source<'_>) -> Lvm {
        let mut physical = Vec::new();
        for PhysicalDraft { name, base, options, spot } in self.physical {
            let device = devices.resolve(&base, &format!("the physical volume [{name}]"), spot, source);
            physical.extend(device.map(|device| PhysicalVolume { name, device, options }));
        }
        Lvm { name: self.name, physical, groups: self.groups, logical: self.logical }
    }
}

/// Reads an `lvm` entry and adds its nodes: physical volumes, groups, volumes, then the entry itself.
pub(super) fn read(node: &FlatNode, nodes: &mut Vec<GraphNode>, source: &mut Source<'_>) -> Option<LvmDraft> {
    let fields = node.fields();
    source.expect_keys(fields, &["name", "base", "pvs", "vgs", "lvs"]);
    let name = source.required(fields, "name", "Lvm config requires 'name'")?;
    let mut draft =
        LvmDraft { name: name.clone(), physical: Vec::new(), groups: Vec::new(), logical: Vec::new() };
    let mut entry = GraphNode::new(NodeKind::Lvm, &name, node.spot, None);
    for record in source.records(fields, "pvs", "Lvm config requires a 'pvs'") {
        let fields = Fields::of("pvs", record);
        let read = physical(fields, source);
        if let Some(volume) = source.keep(record.get("name"), read) {
            entry.after.push(volume.base.clone());
            entry.before.push(volume.name.clone());
            nodes.push(GraphNode::new(NodeKind::PhysicalVolume, &volume.name, record.spot, None));
            draft.physical.push(volume);
        }
    }
    for record in source.records(fields, "vgs", "Lvm config needs 'vgs'") {
        let read = group(Fields::of("vgs", record), &draft.physical, source);
        if let Some(group) = source.keep(record.get("name"), read) {
            let mut graph = GraphNode::new(NodeKind::VolumeGroup, &group.name, record.spot, None);
            graph.after.clone_from(&group.members);
            nodes.push(graph);
            draft.groups.push(group);
        }
    }
    for record in source.records(fields, "lvs", "Lvm config needs 'lvs'") {
        let read = logical(Fields::of("lvs", record), &draft.groups, source);
        if let Some(volume) = source.keep(record.get("name"), read) {
            let after = Some(volume.group.clone());
            nodes.push(GraphNode::new(NodeKind::LogicalVolume, &volume.name, record.spot, after));
            draft.logical.push(volume);
        }
    }
    nodes.push(entry);
    Some(draft)
}

fn physical(fields: Fields<'_>, source: &mut Source<'_>) -> Option<PhysicalDraft> {
    source.expect_keys(fields, &["name", "base", "options"]);
    let name = source.required(fields, "name", "Missing 'name' in pvs config");
    let base = source.required(fields, "base", "Missing 'base' in pvs_config");
    let options = source.texts(fields, "options");
    Some(PhysicalDraft { name: name?, base: base?, options, spot: fields.spot })
}

fn group(fields: Fields<'_>, physical: &[PhysicalDraft], source: &mut Source<'_>) -> Option<VolumeGroup> {
    source.expect_keys(fields, &["name", "base", "options"]);
    let name = source.required(fields, "name", "Missing 'name' in vgs config");
    check_name(name.as_deref(), fields, source);
    if fields.get("base").is_none() {
        source.fault(fields.spot, "Missing 'base' in vgs config");
    }
    let mut members = source.texts(fields, "base");
    let known: Vec<&str> = physical.iter().map(|volume| volume.name.as_str()).collect();
    members.retain(|member| {
        let valid = known.contains(&member.as_str());
        if !valid && !source.lost.contains(member) {
            let message = format!("base:{member} in vgs does not match a valid pvs");
            source.unknown_name(fields.spot_of("base"), message, member, &known);
        }
        valid
    });
    let options = source.texts(fields, "options");
    Some(VolumeGroup { name: name?, members, options })
}

fn logical(fields: Fields<'_>, groups: &[VolumeGroup], source: &mut Source<'_>) -> Option<LogicalVolume> {
    source.expect_keys(fields, &["name", "base", "size", "extents", "options", "type", "thin-pool"]);
    let name = source.required(fields, "name", "Missing 'name' in lvs config");
    check_name(name.as_deref(), fields, source);
    let group = source.required(fields, "base", "Missing 'base' in lvs config");
    let known: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
    if let Some(group) = &group
        && !known.contains(&group.as_str())
    {
        if !source.lost.contains(group) {
            let message = format!("base:{group} in lvs does not match a valid vg");
            source.unknown_name(fields.spot_of("base"), message, group, &known);
        }
        return None;
    }
    let kind = match source.text(fields, "type").as_deref() {
        None => None,
        Some("thin") => Some(VolumeType::Thin),
        Some("thin-pool") => Some(VolumeType::ThinPool),
        Some(other) => {
            let message = format!("Unsupported type:{other}, supported types: thin, thin-pool");
            source.fault(fields.spot_of("type"), message);
            None
        }
    };
    let mut size_as_written = None;
    let size = if fields.get("size").is_some() {
        let text = size_text(fields, "size", source)?;
        let bytes =
            parse_absolute(&text).map_err(|error| source.fault(fields.spot_of("size"), error.to_string()));
        size_as_written = Some(text);
        VolumeSize::Bytes(bytes.ok()? / EXTENT * EXTENT)
    } else if fields.get("extents").is_some() {
        VolumeSize::Extents(source.text(fields, "extents")?)
    } else {
        source.fault(fields.spot, "Missing 'size' or 'extents' in lvs config");
        return None;
    };
    let (thin_pool, options) = (source.text(fields, "thin-pool"), source.texts(fields, "options"));
    Some(LogicalVolume { name: name?, group: group?, size, size_as_written, kind, thin_pool, options })
}

/// The characters LVM takes, see lvm(8).
fn check_name(name: Option<&str>, fields: Fields<'_>, source: &mut Source<'_>) {
    let Some(name) = name else { return };
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"+_.-".contains(&byte);
    if name.is_empty() || name.starts_with('-') || matches!(name, "." | "..") || !name.bytes().all(known) {
        let message = format!("[{}] is no name for LVM: letters, digits and `+_.-`", name.escape_debug());
        source.fault(fields.spot_of("name"), message);
    }
}
