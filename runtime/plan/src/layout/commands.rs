//! The commands that making a layout, and taking it apart, stands for: what one would type. The engine runs those of LVM as they are;
//! for the others it has calls of its own that do the same. Their form is diskimage-builder's (compat/CONTRACT.md 5.4 to 5.6), without
//! kpartx: every partition is a loop device. Called by the engine.

use super::filesystems::Filesystem;
use super::geometry::Geometry;
use super::images::{PartitionType, TableLabel};
use super::nodes::LayoutNode;
use super::state::Places;
use super::volumes::{LogicalVolume, Lvm, PhysicalVolume, VolumeGroup, VolumeSize, VolumeType};
use super::{Device, Layout};

/// A program and its arguments.
pub type Command = Vec<String>;

/// Everything that makes the layout, in order. `geometries` are those of its images.
pub fn create(layout: &Layout, geometries: &[Geometry], places: &dyn Places) -> Vec<Command> {
    layout.nodes().into_iter().flat_map(|node| create_node(node, geometries, places)).collect()
}

/// Everything that takes it apart and keeps the image files.
pub fn umount(layout: &Layout, places: &dyn Places) -> Vec<Command> {
    layout.nodes().into_iter().rev().flat_map(|node| umount_node(node, places)).collect()
}

/// What is left to do once it is apart: LVM forgets the devices.
pub fn cleanup(layout: &Layout) -> Vec<Command> {
    layout.lvm.iter().map(|_| command(["pvscan", "--cache"])).collect()
}

/// Everything that gives back the first `done` nodes after a failure. Image files are deleted with it.
pub fn rollback(layout: &Layout, done: usize, places: &dyn Places) -> Vec<Command> {
    layout.nodes().into_iter().take(done).rev().flat_map(|node| rollback_node(node, places)).collect()
}

/// What makes one node.
pub fn create_node(node: LayoutNode<'_>, geometries: &[Geometry], places: &dyn Places) -> Vec<Command> {
    match node {
        LayoutNode::Image(image) => {
            let sector = image.sector_size.to_string();
            vec![command(["losetup", "--sector-size", &sector, "--show", "-f", &places.file(&image.name)])]
        }
        LayoutNode::Partitions(image) => {
            let geometry = geometries.iter().find(|geometry| geometry.image == image.name);
            let disk = places.device(&Device::Image { image: image.name.clone() });
            let table = geometry.and_then(|geometry| sgdisk(geometry, &disk));
            table.into_iter().chain([command(["sync"])]).collect()
        }
        LayoutNode::Lvm(_) => Vec::new(),
        LayoutNode::PhysicalVolume(volume) => vec![pvcreate(volume, places)],
        LayoutNode::VolumeGroup(group, lvm) => vec![vgcreate(group, lvm, places)],
        LayoutNode::LogicalVolume(volume) => vec![lvcreate(volume)],
        LayoutNode::Filesystem(filesystem) => vec![mkfs(filesystem, &places.device(&filesystem.device))],
        LayoutNode::Mount(mount, filesystem) => {
            let path = places.mounted_at(&mount.mount_point);
            let device = places.device(&filesystem.device);
            vec![command(["mkdir", "-p", &path]), command(["mount", &device, &path])]
        }
    }
}

fn umount_node(node: LayoutNode<'_>, places: &dyn Places) -> Vec<Command> {
    match node {
        LayoutNode::Mount(mount, filesystem) => {
            let path = places.mounted_at(&mount.mount_point);
            let trim = (!is_fat(&filesystem.fstype)).then(|| command(["fstrim", "--verbose", &path]));
            [command(["sync"])].into_iter().chain(trim).chain([command(["umount", &path])]).collect()
        }
        LayoutNode::Lvm(lvm) => deactivate(lvm),
        LayoutNode::Image(image) => {
            vec![command(["losetup", "-d", &places.device(&Device::Image { image: image.name.clone() })])]
        }
        LayoutNode::Partitions(_)
        | LayoutNode::PhysicalVolume(_)
        | LayoutNode::VolumeGroup(..)
        | LayoutNode::LogicalVolume(_)
        | LayoutNode::Filesystem(_) => Vec::new(),
    }
}

fn rollback_node(node: LayoutNode<'_>, places: &dyn Places) -> Vec<Command> {
    match node {
        LayoutNode::Mount(mount, _) => vec![command(["umount", &places.mounted_at(&mount.mount_point)])],
        LayoutNode::LogicalVolume(volume) => remove_volume(&volume.group, &volume.name),
        LayoutNode::VolumeGroup(group, _) => vec![remove_group(&group.name)],
        LayoutNode::Image(_) => umount_node(node, places),
        LayoutNode::Partitions(_)
        | LayoutNode::Lvm(_)
        | LayoutNode::PhysicalVolume(_)
        | LayoutNode::Filesystem(_) => Vec::new(),
    }
}

/// `pvcreate`.
pub fn pvcreate(volume: &PhysicalVolume, places: &dyn Places) -> Command {
    with_options(command(["pvcreate", &places.device(&volume.device)]), &volume.options)
}

/// `vgcreate`, for a group of that `lvm` entry.
pub fn vgcreate(group: &VolumeGroup, lvm: &Lvm, places: &dyn Places) -> Command {
    let mut line = command(["vgcreate", &group.name]);
    line.extend(group.devices(lvm).into_iter().map(|device| places.device(device)));
    with_options(line, &group.options)
}

/// `lvcreate`. A thin volume has a virtual size.
pub fn lvcreate(volume: &LogicalVolume) -> Command {
    let mut line = command(["lvcreate", "--name", &volume.name]);
    let mut add = |words: [&str; 2]| line.extend(words.map(str::to_owned));
    match volume.kind {
        Some(VolumeType::Thin) => add(["--type", "thin"]),
        Some(VolumeType::ThinPool) => add(["--type", "thin-pool"]),
        None => {}
    }
    if let Some(pool) = &volume.thin_pool {
        add(["--thin-pool", pool]);
    }
    match (&volume.size, volume.kind) {
        (VolumeSize::Bytes(bytes), Some(VolumeType::Thin)) => add(["-V", &format!("{bytes}B")]),
        (VolumeSize::Bytes(bytes), _) => add(["-L", &format!("{bytes}B")]),
        (VolumeSize::Extents(extents), _) => add(["-l", extents]),
    }
    line = with_options(line, &volume.options);
    line.push(volume.group.clone());
    line
}

/// Takes all volumes of an `lvm` entry down, so that their devices can be detached.
pub fn deactivate(lvm: &Lvm) -> Vec<Command> {
    let volumes = lvm.logical.iter().map(|volume| {
        let path = format!("/dev/{}/{}", volume.group, volume.name);
        command(["lvchange", "-an", &path])
    });
    let groups = lvm.groups.iter().map(|group| command(["vgchange", "-an", &group.name]));
    volumes.chain(groups).chain([command(["udevadm", "settle"])]).collect()
}

/// Takes a logical volume down for good.
pub fn remove_volume(group: &str, volume: &str) -> Vec<Command> {
    let path = format!("/dev/{group}/{volume}");
    vec![command(["lvchange", "--activate", "n", &path]), command(["lvremove", "--yes", &path])]
}

/// Removes a volume group and all that is in it.
pub fn remove_group(group: &str) -> Command {
    command(["vgremove", "--yes", "--force", group])
}

/// `None` for an MBR, which is written without a command.
fn sgdisk(geometry: &Geometry, disk: &str) -> Option<Command> {
    let TableLabel::Gpt { .. } = geometry.label else { return None };
    let mut line = command(["sgdisk", disk]);
    for placed in &geometry.partitions {
        let PartitionType::Gpt(code) = &placed.kind else { continue };
        let number = placed.number;
        let words = [
            ("-n", format!("{number}:0:+{}M", placed.length >> 20)),
            ("-t", format!("{number}:{code}")),
            ("-c", format!("{number}:{}", placed.name)),
        ];
        line.extend(words.into_iter().flat_map(|(option, value)| [option.to_owned(), value]));
    }
    Some(line)
}

fn mkfs(filesystem: &Filesystem, device: &str) -> Command {
    let Filesystem { label, uuid, fstype, opts, .. } = filesystem;
    if filesystem.is_swap() {
        return command(["mkswap", "-L", label, "-U", uuid, device]);
    }
    let mut line = with_options(command(["mkfs", "-t", fstype]), opts);
    let mut add = |words: &[&str]| line.extend(words.iter().map(|word| (*word).to_owned()));
    add(&[if is_fat(fstype) { "-n" } else { "-L" }, label]);
    match fstype.as_str() {
        "ext2" | "ext3" | "ext4" => add(&["-U", uuid, "-q"]),
        "xfs" => add(&["-m", &format!("uuid={uuid}"), "-q"]),
        _ => {}
    }
    add(&[device]);
    line
}

fn is_fat(fstype: &str) -> bool {
    matches!(fstype, "vfat" | "fat")
}

fn command<'a>(words: impl IntoIterator<Item = &'a str>) -> Command {
    words.into_iter().map(str::to_owned).collect()
}

fn with_options(mut line: Command, options: &[String]) -> Command {
    line.extend(options.iter().cloned());
    line
}
