//! The disk layout: diskimage-builder's block device configuration (tree or graph form) -> an ordered, fully resolved description that
//! the engine carries out without choices. Pure: sizes, order, identifiers and all rules; no device is known here.
//!
//! `parse` applies what holds for every use of a layout; `Layout::check` adds what must hold to make it on a disk of a given size.
//! Format and rules: compat/CONTRACT.md 5. Called by the planner and the engine.

mod assemble;
pub mod commands;
mod device;
mod filesystems;
mod flatten;
mod geometry;
mod gpt_types;
mod graph;
mod identity;
mod images;
mod nodes;
mod source;
mod state;
mod volumes;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use device::Device;
pub use filesystems::{Filesystem, FstabEntry, Mount};
pub use flatten::{FlatNode, Plugin, flatten};
pub use geometry::{Extended, Geometry, Placement};
pub use gpt_types::{TYPE_CODES, type_guid};
pub use graph::{NodeKind, NodeRef};
pub use identity::{derive_disk_id, derive_uuid};
pub use images::{Image, Partition, PartitionTable, PartitionType, TableLabel};
pub use nodes::LayoutNode;
pub use state::{Places, State};
pub use volumes::{LogicalVolume, Lvm, PhysicalVolume, VolumeGroup, VolumeSize, VolumeType};

pub use crate::size::{SizeRules, auto_size};

use crate::fault::{Fault, FaultKind, Faults, Place};
use crate::size::{self, for_people};

/// The configuration that is used when neither the user nor an element gives one: a file system on the whole image.
pub const FALLBACK: &str = "\
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

/// The name `FALLBACK` is known by in messages.
pub const FALLBACK_NAME: &str = "the built-in layout";

/// The types of file systems that the engine makes.
const FILESYSTEM_TYPES: [&str; 7] = ["ext2", "ext3", "ext4", "xfs", "btrfs", "vfat", "swap"];

/// What the root file system takes from the user's variables when its configuration (of the node `mkfs_root`) does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RootDefaults {
    /// `FS_TYPE`.
    pub fstype: String,
    /// `DIB_ROOT_LABEL`; none means the default of the type.
    pub label: Option<String>,
    /// `MKFS_OPTS`, as the user gave it.
    pub opts: String,
    /// Put before `opts` when the type turns out to be ext4: see `ext4_opts`.
    pub ext4_opts: String,
}

impl RootDefaults {
    pub(crate) fn opts_for(&self, fstype: &str) -> String {
        let ours = if fstype == "ext4" { self.ext4_opts.trim() } else { "" };
        format!("{ours} {}", self.opts.trim()).trim().to_owned()
    }
}

/// The options diskimage-builder gives mkfs.ext4 for a root file system: one inode per 4 KiB, a journal of that many MiB, and what it may
/// grow to while mounted (`MAX_ONLINE_RESIZE`).
pub fn ext4_opts(journal_mib: u64, max_online_resize: Option<&str>) -> String {
    let grow = max_online_resize.map(|resize| format!("-E resize={resize} ")).unwrap_or_default();
    format!("{grow}-i 4096 -J size={journal_mib}")
}

/// What a layout is read with.
#[derive(Debug, Clone, Copy)]
pub struct LayoutParameters<'a> {
    /// The name of the configuration in messages.
    pub file: &'a str,
    /// Defaults of the root file system.
    pub root: &'a RootDefaults,
    /// `DIB_BLOCK_SIZE`: bytes in a sector of every image, in place of the configured.
    pub sector_size: Option<u32>,
    /// From which identifiers are derived.
    pub seed: &'a [u8],
}

/// Images, what is on them, and the order in which it is made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Layout {
    /// The name of the configuration in messages.
    pub file: String,
    /// Image files with their partition tables.
    pub images: Vec<Image>,
    /// Logical volumes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lvm: Vec<Lvm>,
    /// File systems and swap spaces, in the order they are made.
    pub filesystems: Vec<Filesystem>,
    /// Mounts, sorted by path: a directory comes before what is mounted below it. Unmount in reverse.
    pub mounts: Vec<Mount>,
    /// Lines of the image's fstab, in order.
    pub fstab: Vec<FstabEntry>,
    /// All nodes in the order they are made.
    pub order: Vec<NodeRef>,
    /// What the user should look at, with file and line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Reads a block device configuration.
///
/// # Errors
/// All problems that were found, in the order of the file.
pub fn parse(text: &str, parameters: &LayoutParameters<'_>) -> Result<Layout, Faults> {
    assemble::layout(text, parameters)
}

impl Layout {
    /// What keeps this layout from being made: nothing mounted at `/`, a type of file system that dibw does
    /// not make, a device used twice, a UUID that is none, partitions that do not fit
    /// an image of `image_size` bytes (`None`: only images of configured size are looked at). Empty when all is well.
    pub fn check(&self, image_size: Option<u64>) -> Faults {
        let mut faults = Faults::default();
        if self.root_filesystem().is_none() {
            let fault =
                Fault::new(FaultKind::Layout, "the layout mounts nothing at `/`").at(&self.file, 1, 0);
            faults.push(fault.hint("give the root file system a `mount:` with `mount_point: /`"));
        }
        for filesystem in &self.filesystems {
            let (name, fstype) = (&filesystem.name, filesystem.fstype.as_str());
            if !FILESYSTEM_TYPES.contains(&fstype) {
                let message =
                    format!("dibw can't make a file system of type [{fstype}] (file system [{name}])");
                let hint = format!("it makes {}", FILESYSTEM_TYPES.join(", "));
                faults.push(fault_at(&filesystem.place, message).hint(hint));
            }
            if !identity::is_uuid(&filesystem.uuid) {
                let message = format!("[{}] is no UUID (file system [{}])", filesystem.uuid, filesystem.name);
                faults.push(fault_at(&filesystem.place, message));
            }
        }
        self.check_devices(&mut faults);
        for image in &self.images {
            if let Some(size) = image.size.or(image_size)
                && let Some(geometry) = faults.take(image.resolve_geometry(size))
            {
                self.check_room(image, size, geometry.as_ref(), &mut faults);
            }
        }
        faults
    }

    /// Each file system has what its type needs at least; mkfs would say so only at the end of a build.
    fn check_room(&self, image: &Image, size: u64, geometry: Option<&Geometry>, faults: &mut Faults) {
        for filesystem in &self.filesystems {
            let room = match &filesystem.device {
                Device::Image { image: name } if *name == image.name => Some(size),
                Device::Partition { image: name, partition, .. } if *name == image.name => {
                    geometry.and_then(|geometry| geometry.partition(partition)).map(|placed| placed.length)
                }
                Device::Image { .. } | Device::Partition { .. } | Device::LogicalVolume { .. } => None,
            };
            let least = filesystem.least_size();
            if let Some(room) = room.filter(|room| *room < least) {
                let message = format!(
                    "file system [{}] has room of {}, and {} needs at least {}",
                    filesystem.name,
                    for_people(room),
                    filesystem.fstype,
                    for_people(least)
                );
                let hint = format!("make the image at least {} larger", for_people(least - room));
                faults.push(fault_at(&filesystem.place, message).hint(hint));
            }
        }
    }

    /// Each device may be used once: for a table, a file system or a physical volume.
    fn check_devices(&self, faults: &mut Faults) {
        let mut users: BTreeMap<&Device, String> = BTreeMap::new();
        let whole: Vec<Device> = self
            .images
            .iter()
            .filter(|image| image.table.is_some())
            .map(|image| Device::Image { image: image.name.clone() })
            .collect();
        for device in &whole {
            users.insert(device, String::from("the partition table"));
        }
        let physical = self.lvm.iter().flat_map(|lvm| &lvm.physical);
        let physical =
            physical.map(|volume| (&volume.device, format!("the physical volume [{}]", volume.name), None));
        let filesystems = self.filesystems.iter().map(|filesystem| {
            (&filesystem.device, format!("the file system [{}]", filesystem.name), Some(&filesystem.place))
        });
        for (device, user, place) in physical.chain(filesystems) {
            if let Some(first) = users.get(device) {
                let message = format!("[{device}] is used twice: by {first} and by {user}");
                let whole_file = Place { file: self.file.clone(), line: 1, column: 0 };
                faults.push(fault_at(place.unwrap_or(&whole_file), message));
            } else {
                users.insert(device, user);
            }
        }
    }

    /// Places the partitions of every image that has a table. `image_size` (bytes) counts for images without configured size.
    ///
    /// # Errors
    /// Partitions that have no room.
    pub fn resolve_geometry(&self, image_size: u64) -> Result<Vec<Geometry>, Faults> {
        let mut faults = Faults::default();
        let geometries =
            self.images.iter().filter_map(|image| faults.take(image.resolve_geometry(image_size))?);
        let geometries = geometries.collect();
        faults.or(geometries)
    }

    /// The least size, in bytes, of images without configured size: what their partitions of fixed size need.
    pub fn minimum_size(&self) -> u64 {
        let unsized_images = self.images.iter().filter(|image| image.size.is_none());
        unsized_images.map(Image::minimum_size).max().unwrap_or(0)
    }

    /// The size, in bytes, of images without configured size, for a tree of `tree_kib` KiB: as `auto_size`, with room for the partitions
    /// beside root's. A size given by the user is taken as it is (`check` says when it is too small).
    pub fn image_size(&self, tree_kib: u64, rules: &SizeRules) -> u64 {
        let mut rules = rules.clone();
        if let Some(fstype) = self.root_fstype() {
            fstype.clone_into(&mut rules.root_fstype);
        }
        let bytes = size::image_size(tree_kib, &rules, self.beside_root());
        if rules.image_size.is_some() {
            bytes
        } else {
            bytes.max(size::round_up(self.minimum_size(), size::MIB))
        }
    }

    /// Bytes of root's image that are not root's: other partitions of fixed size, the table, alignment.
    fn beside_root(&self) -> u64 {
        let Some(image) = self.root_image() else { return 0 };
        let Some(table) = &image.table else { return 0 };
        let roots = self.root_devices();
        let is_root = |partition: &Partition| roots.iter().any(|device| device.name() == partition.name);
        let fixed =
            table.partitions.iter().filter(|partition| !is_root(partition)).map(|partition| match partition
                .size
            {
                size::SizeSpec::Bytes(bytes) => size::round_up(bytes, table.align),
                size::SizeSpec::Percent(_) => 0,
            });
        // Up to two units of alignment per partition, the record of a logical one included.
        let alignment = table.align.saturating_mul(2 * table.partitions.len() as u64);
        fixed.fold(table.overhead().saturating_add(alignment), u64::saturating_add)
    }

    /// The devices under the root file system: one, or the physical volumes of its volume group.
    fn root_devices(&self) -> Vec<&Device> {
        let Some(root) = self.root_filesystem() else { return Vec::new() };
        let Device::LogicalVolume { group, .. } = &root.device else { return vec![&root.device] };
        let of_group = |lvm: &&Lvm| lvm.groups.iter().any(|candidate| candidate.name == *group);
        let Some(lvm) = self.lvm.iter().find(of_group) else { return Vec::new() };
        let members: Vec<&String> = lvm
            .groups
            .iter()
            .filter(|candidate| candidate.name == *group)
            .flat_map(|group| &group.members)
            .collect();
        lvm.physical
            .iter()
            .filter(|volume| members.contains(&&volume.name))
            .map(|volume| &volume.device)
            .collect()
    }

    /// The image that holds the root file system, which is the one that becomes the artifact.
    pub fn root_image(&self) -> Option<&Image> {
        let device = self.root_devices().into_iter().next()?;
        let (Device::Image { image: name } | Device::Partition { image: name, .. }) = device else {
            return None;
        };
        self.images.iter().find(|image| image.name == *name)
    }

    /// The file system mounted at a path.
    pub fn filesystem_at(&self, mount_point: &str) -> Option<&Filesystem> {
        let mount = self.mounts.iter().find(|mount| mount.mount_point == mount_point)?;
        self.filesystems.iter().find(|filesystem| filesystem.name == mount.filesystem)
    }

    /// The file system mounted at `/`.
    pub fn root_filesystem(&self) -> Option<&Filesystem> {
        self.filesystem_at("/")
    }

    /// Label of the root file system.
    pub fn root_label(&self) -> Option<&str> {
        self.root_filesystem().map(|root| root.label.as_str())
    }

    /// Type of the root file system.
    pub fn root_fstype(&self) -> Option<&str> {
        self.root_filesystem().map(|root| root.fstype.as_str())
    }

    /// Label of the file system mounted at `/boot`.
    pub fn boot_label(&self) -> Option<&str> {
        self.filesystem_at("/boot").map(|boot| boot.label.as_str())
    }

    /// Where the EFI system partition is mounted.
    pub fn esp(&self) -> Option<&str> {
        let is_esp = |image: &str, number: u32| {
            let image = self.images.iter().find(|known| known.name == image);
            let table = image.and_then(|image| image.table.as_ref());
            let partition = table.and_then(|table| table.partitions.iter().find(|p| p.number == number));
            partition.is_some_and(|partition| partition.kind.is_esp())
        };
        let made_on_it = |filesystem: &&Filesystem| match &filesystem.device {
            Device::Partition { image, number, .. } => is_esp(image, *number),
            Device::Image { .. } | Device::LogicalVolume { .. } => false,
        };
        let filesystem = self.filesystems.iter().find(made_on_it)?;
        let mount = self.mounts.iter().find(|mount| mount.filesystem == filesystem.name)?;
        Some(&mount.mount_point)
    }

    /// All mount points in the order of the configuration, `none` for swap included.
    pub fn mount_points(&self) -> Vec<&str> {
        let mut mounts: Vec<&Mount> = self.mounts.iter().collect();
        mounts.sort_by_key(|mount| mount.position);
        mounts.into_iter().map(|mount| mount.mount_point.as_str()).collect()
    }

    /// The text of the image's fstab. Empty when there are no entries.
    pub fn fstab(&self) -> String {
        self.fstab.iter().map(|entry| entry.line() + "\n").collect()
    }

    /// Whether the kernel must have device-mapper to make this layout.
    pub fn needs_device_mapper(&self) -> bool {
        !self.lvm.is_empty()
    }
}

fn fault_at(place: &Place, message: String) -> Fault {
    Fault::new(FaultKind::Layout, message).at(&place.file, place.line, place.column)
}
