//! Flat nodes -> the resolved `Layout`: reads each node, links them, orders them, finds what each stands on. Collects all faults on the way.
//! Called by `layout::parse`.

use dibw_policy::yaml::Spot;

use super::device::{Device, Devices};
use super::filesystems::{
    FilesystemDraft, FstabDraft, FstabEntry, Mount, MountDraft, is_mount_point, read_filesystem, read_fstab,
    read_mount,
};
use super::flatten::{FlatNode, Plugin, flatten_into};
use super::graph::{self, GraphNode, NodeKind};
use super::images::{Image, PartitionTable, read_image, read_table};
use super::source::Source;
use super::volumes::{self, LvmDraft};
use super::{Layout, LayoutParameters};
use crate::fault::Faults;

/// All nodes as read, not yet linked.
#[derive(Default)]
struct Draft {
    images: Vec<Image>,
    tables: Vec<(String, PartitionTable, Spot)>,
    lvm: Vec<LvmDraft>,
    filesystems: Vec<FilesystemDraft>,
    mounts: Vec<MountDraft>,
    fstab: Vec<FstabDraft>,
    nodes: Vec<GraphNode>,
}

pub(super) fn layout(text: &str, parameters: &LayoutParameters<'_>) -> Result<Layout, Faults> {
    let mut source = Source::new(parameters.file);
    let flat = flatten_into(text, parameters.root, &mut source);
    let mut draft = Draft::default();
    for (position, node) in flat.iter().enumerate() {
        draft.read(node, position, parameters, &mut source);
    }
    draft.check_labels(&mut source);
    draft.link_mounts(&mut source);
    let order = graph::order(&draft.nodes, &mut source);
    let layout = draft.resolve(order, &mut source);
    source.faults.0.sort_by_key(|fault| fault.place.as_ref().map(|place| (place.line, place.column)));
    let layout = Layout { warnings: source.warnings, ..layout };
    source.faults.or(layout)
}

impl Draft {
    fn read(
        &mut self,
        node: &FlatNode,
        position: usize,
        parameters: &LayoutParameters<'_>,
        source: &mut Source<'_>,
    ) {
        let seed = parameters.seed;
        let name = node.fields().get("name");
        match node.plugin {
            Plugin::LocalLoop => {
                let read = read_image(node, parameters.sector_size, source);
                if let Some(image) = source.keep(name, read) {
                    self.nodes.push(GraphNode::new(NodeKind::Image, &image.name, node.spot, None));
                    self.images.push(image);
                }
            }
            Plugin::Partitioning => {
                if let Some((base, table)) = read_table(node, seed, source) {
                    self.add_partitions(&base, &table);
                    self.tables.push((base, table, node.spot));
                }
            }
            Plugin::Lvm => {
                let read = volumes::read(node, &mut self.nodes, source);
                self.lvm.extend(source.keep(name, read));
            }
            Plugin::Mkfs => {
                let read = read_filesystem(node, seed, source);
                if let Some(draft) = source.keep(name, read) {
                    self.add(NodeKind::Filesystem, &draft.name, &draft.base, node);
                    self.filesystems.push(draft);
                }
            }
            Plugin::Mount => {
                let read = read_mount(node, position, source);
                if let Some(draft) = source.keep(name, read) {
                    self.add(NodeKind::Mount, &draft.name, &draft.base, node);
                    self.mounts.push(draft);
                }
            }
            Plugin::Fstab => {
                let read = read_fstab(node, source);
                if let Some(draft) = source.keep(name, read) {
                    self.add(NodeKind::Fstab, &draft.name, &draft.base, node);
                    self.fstab.push(draft);
                }
            }
        }
    }

    fn add(&mut self, kind: NodeKind, name: &str, base: &str, node: &FlatNode) {
        self.nodes.push(GraphNode::new(kind, name, node.spot, Some(base.to_owned())));
    }

    /// Every partition is a node, made after the one before it; the table itself is none.
    fn add_partitions(&mut self, base: &str, table: &PartitionTable) {
        let mut previous: Option<String> = None;
        for partition in &table.partitions {
            let spot = Spot { line: partition.place.line, column: partition.place.column };
            let mut graph = GraphNode::new(NodeKind::Partition, &partition.name, spot, Some(base.to_owned()));
            graph.after.extend(previous.replace(partition.name.clone()));
            self.nodes.push(graph);
        }
    }

    fn check_labels(&self, source: &mut Source<'_>) {
        for (index, filesystem) in self.filesystems.iter().enumerate() {
            let label = &filesystem.label;
            if let Some(first) = self.filesystems[..index].iter().find(|other| other.label == *label) {
                source.fault(
                    filesystem.label_spot,
                    format!(
                        "File system label [{label}] used more than once: by [{}] and [{}]",
                        first.name, filesystem.name
                    ),
                );
            }
        }
    }

    /// A mount comes after the one before it in the order of paths, so that nothing is mounted below what is not there yet.
    fn link_mounts(&mut self, source: &mut Source<'_>) {
        self.mounts.sort_by(|a, b| a.mount_point.cmp(&b.mount_point));
        for pair in self.mounts.windows(2) {
            let [before, mount] = pair else { continue };
            let path = &mount.mount_point;
            if before.mount_point == *path {
                let (first, second) =
                    if before.position < mount.position { (before, mount) } else { (mount, before) };
                let message = format!(
                    "Mount point [{path}] specified more than once (first in line {})",
                    first.spot.line
                );
                source.fault(second.spot, message);
            }
            if let Some(node) = self.nodes.iter_mut().find(|node| node.name == mount.name) {
                node.after.insert(0, before.name.clone());
            }
        }
    }

    fn resolve(self, order: Vec<graph::NodeRef>, source: &mut Source<'_>) -> Layout {
        let mut devices = Devices::new(&self.nodes);
        let mut images = self.images;
        for (base, table, spot) in self.tables {
            attach(&base, table, spot, &mut images, &devices, source);
        }
        for image in &images {
            devices.insert(Device::Image { image: image.name.clone() });
            for partition in image.table.iter().flat_map(|table| &table.partitions) {
                let (image, partition, number) =
                    (image.name.clone(), partition.name.clone(), partition.number);
                devices.insert(Device::Partition { image, partition, number });
            }
        }
        for volume in self.lvm.iter().flat_map(|lvm| &lvm.logical) {
            devices
                .insert(Device::LogicalVolume { group: volume.group.clone(), volume: volume.name.clone() });
        }
        let lvm = self.lvm.into_iter().map(|draft| draft.resolve(&devices, source)).collect();
        let (mounts, fstab) = resolve_mounts(self.mounts, self.fstab, &self.filesystems, &devices, source);
        let mut filesystems = Vec::new();
        for draft in self.filesystems {
            let user = format!("the file system [{}]", draft.name);
            let device = devices.resolve(&draft.base, &user, draft.spot, source);
            filesystems.extend(device.map(|device| draft.on(device, source)));
        }
        let position = |name: &str| order.iter().position(|node| node.name == name);
        filesystems.sort_by_key(|filesystem| position(&filesystem.name));
        Layout {
            file: source.file.to_owned(),
            images,
            lvm,
            filesystems,
            mounts,
            fstab,
            order,
            warnings: Vec::new(),
        }
    }
}

/// Gives an image its partition table. A base that does not exist is the graph's fault to report, but for a table without partitions,
/// which has no nodes.
fn attach(
    base: &str,
    table: PartitionTable,
    spot: Spot,
    images: &mut [Image],
    devices: &Devices,
    source: &mut Source<'_>,
) {
    match (images.iter_mut().find(|image| image.name == base), devices.kind(base)) {
        (Some(image), _) if image.table.is_some() => {
            source.fault(spot, format!("the image [{base}] has two partition tables"));
        }
        (Some(image), _) => image.table = Some(table),
        (None, Some(kind)) => {
            let message = format!(
                "a partition table can only be made on an image (local_loop): [{base}] is {}",
                kind.words()
            );
            source.fault(spot, message);
        }
        (None, None) if table.partitions.is_empty() => {
            source.fault(spot, format!("Edge not defined: {base}->partitioning"));
        }
        (None, None) => {}
    }
}

fn resolve_mounts(
    mounts: Vec<MountDraft>,
    fstab: Vec<FstabDraft>,
    filesystems: &[FilesystemDraft],
    devices: &Devices,
    source: &mut Source<'_>,
) -> (Vec<Mount>, Vec<FstabEntry>) {
    for entry in &fstab {
        if let Some(kind) = devices.kind(&entry.base)
            && kind != NodeKind::Mount
        {
            let message = format!(
                "the fstab entry [{}] needs a mount as base: [{}] is {}",
                entry.name,
                entry.base,
                kind.words()
            );
            source.fault(entry.spot, message);
        }
        let first = fstab.iter().find(|other| other.base == entry.base).map(|first| &first.name);
        if first.is_some_and(|first| *first != entry.name) {
            source.fault(entry.spot, format!("the mount [{}] has two fstab entries", entry.base));
        }
    }
    let (mut resolved, mut lines) = (Vec::new(), Vec::new());
    for mount in mounts {
        let MountDraft { name, base, mount_point, position, spot } = mount;
        let Some(filesystem) = filesystems.iter().find(|filesystem| filesystem.name == base) else {
            if let Some(kind) = devices.kind(&base) {
                let message =
                    format!("the mount [{name}] needs a file system as base: [{base}] is {}", kind.words());
                source.fault(spot, message);
            }
            continue;
        };
        let is_swap = filesystem.fstype == "swap";
        if !is_swap && !is_mount_point(&mount_point) {
            let message = format!(
                "[{mount_point}] is no mount point: an absolute path without `.`, `..` or empty parts"
            );
            source.fault(spot, message);
        }
        let mount_point = if is_swap { String::from("none") } else { mount_point };
        for entry in fstab.iter().filter(|entry| entry.base == name) {
            lines.push(FstabEntry {
                name: entry.name.clone(),
                mount: name.clone(),
                label: filesystem.label.clone(),
                mount_point: mount_point.clone(),
                fstype: filesystem.fstype.clone(),
                options: if is_swap { String::from("sw") } else { entry.options.clone() },
                dump_freq: if is_swap { 0 } else { entry.dump_freq },
                fsck_passno: if is_swap { 0 } else { entry.fsck_passno },
            });
        }
        resolved.push(Mount { name, filesystem: base, mount_point, position });
    }
    (resolved, lines)
}
