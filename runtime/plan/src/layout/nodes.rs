//! A layout as a walk: its nodes in the order they are made, each with what belongs to it. Taking a disk apart is the same walk
//! backwards. Called by the engine, and by `commands` and `state`, so that all of them go the same way.

use super::filesystems::{Filesystem, Mount};
use super::graph::NodeKind;
use super::images::Image;
use super::volumes::{LogicalVolume, Lvm, PhysicalVolume, VolumeGroup};
use super::{Layout, NodeRef};

/// Something to make, resolved.
#[derive(Debug, Clone, Copy)]
pub enum LayoutNode<'a> {
    /// An image file with its partition table, and the block device of the whole.
    Image(&'a Image),
    /// The block devices of all partitions of an image. It stands where the first of them does.
    Partitions(&'a Image),
    /// Nothing to make: where the volumes of an `lvm` entry are taken down.
    Lvm(&'a Lvm),
    /// A physical volume.
    PhysicalVolume(&'a PhysicalVolume),
    /// A volume group, of the `lvm` entry beside it.
    VolumeGroup(&'a VolumeGroup, &'a Lvm),
    /// A logical volume.
    LogicalVolume(&'a LogicalVolume),
    /// A file system or swap space.
    Filesystem(&'a Filesystem),
    /// A file system to mount.
    Mount(&'a Mount, &'a Filesystem),
}

impl Layout {
    /// All nodes, in the order they are made. What needs nothing done (the second partition of a table, a mount point of swap space,
    /// a line of the fstab) is left out.
    pub fn nodes(&self) -> Vec<LayoutNode<'_>> {
        self.order.iter().filter_map(|node| self.node(node)).collect()
    }

    fn node(&self, NodeRef { kind, name }: &NodeRef) -> Option<LayoutNode<'_>> {
        let mut lvm = self.lvm.iter();
        match kind {
            NodeKind::Image => self.images.iter().find(|image| image.name == *name).map(LayoutNode::Image),
            NodeKind::Partition => {
                let is_first =
                    |image: &&Image| image.first_partition().is_some_and(|first| first.name == *name);
                self.images.iter().find(is_first).map(LayoutNode::Partitions)
            }
            NodeKind::Lvm => lvm.find(|lvm| lvm.name == *name).map(LayoutNode::Lvm),
            NodeKind::PhysicalVolume => lvm
                .flat_map(|lvm| &lvm.physical)
                .find(|volume| volume.name == *name)
                .map(LayoutNode::PhysicalVolume),
            NodeKind::VolumeGroup => lvm.find_map(|lvm| {
                let group = lvm.groups.iter().find(|group| group.name == *name)?;
                Some(LayoutNode::VolumeGroup(group, lvm))
            }),
            NodeKind::LogicalVolume => lvm
                .flat_map(|lvm| &lvm.logical)
                .find(|volume| volume.name == *name)
                .map(LayoutNode::LogicalVolume),
            NodeKind::Filesystem => {
                self.filesystems.iter().find(|made| made.name == *name).map(LayoutNode::Filesystem)
            }
            NodeKind::Mount => {
                let mount = self.mounts.iter().find(|mount| mount.name == *name)?;
                let filesystem = self.filesystems.iter().find(|made| made.name == mount.filesystem)?;
                (!filesystem.is_swap()).then_some(LayoutNode::Mount(mount, filesystem))
            }
            NodeKind::Fstab => None,
        }
    }
}

impl VolumeGroup {
    /// The block devices below it, by name.
    pub fn devices<'a>(&self, lvm: &'a Lvm) -> Vec<&'a super::Device> {
        let of = |member: &String| lvm.physical.iter().find(|volume| volume.name == *member);
        self.members.iter().filter_map(of).map(|volume| &volume.device).collect()
    }
}
