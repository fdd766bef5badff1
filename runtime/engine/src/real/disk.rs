//! The disk of a real machine: image files, loop devices, mounts. Held in the order they were taken, given back in reverse.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use dibw_image::table::{gpt, mbr};
use dibw_plan::layout::{Geometry, PartitionType, Placement, TableLabel};
use dibw_sys::loops::{Access, LoopDevice};
use dibw_sys::mkfs::{Format, FsKind, mkfs};
use dibw_sys::mounts::{self, Mount};
use dibw_sys::vfat;
use uuid::Uuid;

use crate::machine::FileSystem;

/// Everything of the disk that is held.
#[derive(Default)]
pub(super) struct Disk {
    images: Vec<(String, File)>,
    devices: Vec<(String, LoopDevice)>,
    mounted: Vec<Mounted>,
}

/// A file system at its mount point.
struct Mounted {
    mount_point: String,
    mount: Mount,
    /// Where the files of a vfat wait for being written to this device: there is no need of a kernel driver.
    staging: Option<(PathBuf, String)>,
}

impl Disk {
    pub(super) fn create_image(&mut self, directory: &Path, name: &str, bytes: u64) -> Result<()> {
        fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
        let path = directory.join(format!("{name}.raw"));
        let context = || format!("image file {} of {bytes} bytes", path.display());
        let file =
            OpenOptions::new().read(true).write(true).create_new(true).open(&path).with_context(context)?;
        file.set_len(bytes).with_context(context)?;
        self.images.push((name.to_owned(), file));
        Ok(())
    }

    pub(super) fn image(&self, name: &str) -> Result<&File> {
        let found = self.images.iter().find(|(known, _)| known == name);
        found.map(|(_, file)| file).with_context(|| format!("there is no image {name}"))
    }

    pub(super) fn write_table(&self, image: &str, geometry: &Geometry) -> Result<()> {
        let mut file = self.image(image)?;
        match &geometry.label {
            TableLabel::Mbr { disk_id } => mbr::write(&mut file, &mbr_table(geometry, *disk_id)?),
            TableLabel::Gpt { disk_guid } => gpt::write(&mut file, &gpt_table(geometry, disk_guid)?),
        }
        .with_context(|| format!("partition table of image {image}"))
    }

    pub(super) fn attach(
        &mut self,
        device: &str,
        image: &str,
        offset: u64,
        bytes: u64,
        sector_size: u32,
    ) -> Result<()> {
        let attached = LoopDevice::attach(self.image(image)?, offset, bytes, sector_size, Access::ReadWrite)
            .with_context(|| format!("block device for {device}"))?;
        self.devices.push((device.to_owned(), attached));
        Ok(())
    }

    pub(super) fn device(&self, name: &str) -> Result<&Path> {
        let found = self.devices.iter().find(|(known, _)| known == name);
        found.map(|(_, device)| device.path()).with_context(|| format!("{name} is not attached"))
    }

    /// Paths of all devices.
    pub(super) fn devices(&self) -> impl Iterator<Item = &Path> {
        self.devices.iter().map(|(_, device)| device.path())
    }

    /// Where file systems of the image are mounted; staging directories are none.
    pub(super) fn mount_points(&self) -> impl Iterator<Item = &Path> {
        self.mounted.iter().filter(|mounted| mounted.staging.is_none()).map(|mounted| mounted.mount.dir())
    }

    pub(super) fn make_file_system(&self, device: &str, wanted: &FileSystem) -> Result<()> {
        let kind: FsKind = wanted.kind.parse()?;
        let format = Format {
            kind,
            label: Some(&wanted.label),
            uuid: wanted.uuid.as_deref(),
            options: &wanted.options,
            epoch: wanted.epoch,
        };
        mkfs(self.device(device)?, &format).with_context(|| format!("{} on {device}", wanted.kind))
    }

    /// Mounts at `mount_point` below `root`; vfat gets a directory of `staging_base` there instead.
    pub(super) fn mount(
        &mut self,
        root: &Path,
        staging_base: &Path,
        device: &str,
        kind: &str,
        mount_point: &str,
    ) -> Result<()> {
        let at = root.join(mount_point.trim_start_matches('/'));
        fs::create_dir_all(&at).with_context(|| format!("making {}", at.display()))?;
        let path = self.device(device)?.to_path_buf();
        let (mount, staging) = if matches!(kind.parse()?, FsKind::Vfat) {
            let staging = staging_base.join(device);
            fs::create_dir_all(&staging).with_context(|| format!("making {}", staging.display()))?;
            let mount = Mount::bind(&staging, &at, Access::ReadWrite)?;
            (mount, Some((staging, device.to_owned())))
        } else {
            (Mount::new(&path, &at, kind, "")?, None)
        };
        self.mounted.push(Mounted { mount_point: mount_point.to_owned(), mount, staging });
        Ok(())
    }

    pub(super) fn unmount(&mut self, mount_point: &str) -> Result<()> {
        let index = self.mounted.iter().position(|mounted| mounted.mount_point == mount_point);
        let Some(index) = index else { bail!("nothing is mounted at {mount_point}") };
        let Mounted { mount, staging, .. } = self.mounted.remove(index);
        if staging.is_none() {
            mounts::syncfs(mount.dir())?;
            mounts::fstrim(mount.dir())?;
        }
        mount.unmount()?;
        match staging {
            Some((staging, device)) => vfat::fill(self.device(&device)?, &staging)
                .with_context(|| format!("filling the vfat of {mount_point}")),
            None => Ok(()),
        }
    }

    pub(super) fn detach(&mut self, device: &str) -> Result<()> {
        let index = self.devices.iter().position(|(known, _)| known == device);
        let Some(index) = index else { bail!("{device} is not attached") };
        let (_, device) = self.devices.remove(index);
        device.detach()
    }

    /// Gives everything back, the last taken first; goes on after errors.
    pub(super) fn release(&mut self) -> Vec<anyhow::Error> {
        let mut errors = Vec::new();
        while let Some(mounted) = self.mounted.pop() {
            errors.extend(mounted.mount.unmount().err());
        }
        while let Some((_, device)) = self.devices.pop() {
            errors.extend(device.detach().err());
        }
        self.images.clear();
        errors
    }
}

fn mbr_table(geometry: &Geometry, disk_id: u32) -> Result<mbr::MbrTable> {
    let sectors = |bytes: u64| bytes / u64::from(geometry.sector_size);
    let kind = |partition: &Placement| match &partition.kind {
        PartitionType::Mbr(kind) => Ok(*kind),
        PartitionType::Gpt(code) => bail!("partition {} has the GPT type {code} in an MBR", partition.name),
    };
    let mut primaries = Vec::new();
    let mut logicals = Vec::new();
    for partition in &geometry.partitions {
        let (kind, bootable) = (kind(partition)?, partition.bootable);
        let (start, length) = (sectors(partition.start), sectors(partition.length));
        match partition.ebr {
            None => primaries.push(mbr::MbrPartition { bootable, kind, start, sectors: length }),
            Some(ebr) => {
                let ebr_start = sectors(ebr);
                logicals.push(mbr::Logical { ebr_start, start, sectors: length, kind, bootable });
            }
        }
    }
    let extended = geometry.extended.map(|extended| mbr::Extended {
        start: sectors(extended.start),
        sectors: sectors(extended.length),
        logicals,
    });
    let disk_sectors = sectors(geometry.image_size);
    Ok(mbr::MbrTable { disk_id, sector_size: geometry.sector_size, disk_sectors, primaries, extended })
}

fn gpt_table(geometry: &Geometry, disk_guid: &str) -> Result<gpt::GptTable> {
    let sectors = |bytes: u64| bytes / u64::from(geometry.sector_size);
    let guid = |text: &str| Uuid::parse_str(text).with_context(|| format!("{text} is not a GUID"));
    let partition = |placed: &Placement| {
        let PartitionType::Gpt(code) = &placed.kind else {
            bail!("partition {} has an MBR type in a GPT", placed.name);
        };
        let type_guid = gpt::type_guid(code).with_context(|| format!("unknown partition type {code}"))?;
        let own = placed.guid.as_deref().with_context(|| format!("partition {} has no GUID", placed.name))?;
        Ok(gpt::GptPartition {
            number: placed.number,
            type_guid,
            guid: guid(own)?,
            name: placed.name.clone(),
            first_lba: sectors(placed.start),
            last_lba: sectors(placed.start + placed.length) - 1,
            attributes: 0,
        })
    };
    Ok(gpt::GptTable {
        disk_guid: guid(disk_guid)?,
        sector_size: geometry.sector_size,
        disk_sectors: sectors(geometry.image_size),
        partitions: geometry.partitions.iter().map(partition).collect::<Result<_>>()?,
    })
}
