//! What making a disk takes from a machine: image files, tables, block devices, volumes, file systems, mounts, one method each.
//! [`crate::real::Disk`] does it with `dibw-sys`; tests pass a double that records and fails where told.

use std::path::PathBuf;

use anyhow::Result;
use dibw_plan::layout::{Geometry, LogicalVolume, Lvm, PhysicalVolume, VolumeGroup};

/// A file system to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSystem {
    /// `ext4`, `xfs`, ...
    pub kind: String,
    /// Label.
    pub label: String,
    /// UUID, where the type has one.
    pub uuid: Option<String>,
    /// Options for mkfs.
    pub options: Vec<String>,
    /// The time to write into it, in seconds since 1970; none means now.
    pub epoch: Option<u64>,
}

/// A part of LVM's.
#[derive(Debug, Clone, Copy)]
pub enum Volume<'a> {
    /// A physical volume.
    Physical(&'a PhysicalVolume),
    /// A volume group of that entry.
    Group(&'a VolumeGroup, &'a Lvm),
    /// A logical volume.
    Logical(&'a LogicalVolume),
}

impl Volume<'_> {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Physical(volume) => &volume.name,
            Self::Group(group, _) => &group.name,
            Self::Logical(volume) => &volume.name,
        }
    }
}

/// The privileged work on disks. Every method that takes something has one that gives it back.
pub trait Disks {
    /// A sparse image file of that size. Images are known by name.
    ///
    /// # Errors
    /// When the machine refuses.
    fn create_image(&mut self, name: &str, bytes: u64, sector_size: u32) -> Result<()>;

    /// Writes a partition table to an image.
    ///
    /// # Errors
    /// When the machine refuses.
    fn write_table(&mut self, image: &str, table: &Geometry) -> Result<()>;

    /// A block device for a part of an image (`bytes` 0: the whole). Devices are known by name.
    ///
    /// # Errors
    /// When the machine refuses.
    fn attach(&mut self, device: &str, image: &str, offset: u64, bytes: u64, sector_size: u32) -> Result<()>;

    /// The path of an attached device.
    ///
    /// # Errors
    /// When it is not attached.
    fn device(&mut self, device: &str) -> Result<PathBuf>;

    /// Makes a file system on a device.
    ///
    /// # Errors
    /// When the tool fails.
    fn make_file_system(&mut self, device: &str, file_system: &FileSystem) -> Result<()>;

    /// Makes a part of LVM's. Logical volumes are devices, known by name.
    ///
    /// # Errors
    /// When the tool fails.
    fn make_volume(&mut self, volume: Volume<'_>) -> Result<()>;

    /// Takes the volumes of an `lvm` entry down; they stay on their devices.
    ///
    /// # Errors
    /// When one is in use.
    fn take_down(&mut self, lvm: &Lvm) -> Result<()>;

    /// Mounts a device's file system at a mount point of the image (`/`, `/boot`). A file system without a kernel driver gets a staging
    /// directory instead, which [`Disks::unmount`] writes to the device.
    ///
    /// # Errors
    /// When the machine refuses.
    fn mount(&mut self, device: &str, kind: &str, mount_point: &str) -> Result<()>;

    /// Trims and unmounts what is mounted at a mount point of the image.
    ///
    /// # Errors
    /// When it is busy.
    fn unmount(&mut self, mount_point: &str) -> Result<()>;

    /// Gives a block device back.
    ///
    /// # Errors
    /// When it is busy.
    fn detach(&mut self, device: &str) -> Result<()>;
}
