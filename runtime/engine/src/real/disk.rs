//! The disk of a real machine: image files, loop devices, volumes, mounts. Held in the order they were taken, given back in reverse.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use dibw_plan::layout::commands::{self, Command};
use dibw_plan::layout::{Device, Geometry, Layout, LogicalVolume, Lvm, Places, State, VolumeGroup};
use dibw_sys::loops::{Access, LoopDevice, LoopIdentity};
use dibw_sys::lvm;
use dibw_sys::mkfs::{Format, FsKind, mkfs};
use dibw_sys::mounts::{self, Mount};
use dibw_sys::{probe, vfat};

use crate::disks::{Disks, FileSystem, Volume};
use crate::tables;

/// Where a disk has its files.
#[derive(Debug, Clone, Default)]
pub struct DiskPlaces {
    /// Directory of image files.
    pub images: PathBuf,
    /// Directories of single images that are elsewhere.
    pub elsewhere: BTreeMap<String, PathBuf>,
    /// Where the file systems are mounted.
    pub root: PathBuf,
    /// Directory of the files of vfat file systems, until they are written.
    pub staging: PathBuf,
    /// Where the kernel can mount vfat, it does: grub-install asks for a real one. Otherwise equal files make equal bytes.
    pub kernel_vfat: bool,
}

/// Everything of the disk that is held.
#[derive(Default)]
pub struct Disk {
    places: DiskPlaces,
    images: Vec<(String, File)>,
    /// Image files made by us, thrown away when the disk is given up.
    files: Vec<PathBuf>,
    devices: Vec<(String, LoopDevice)>,
    /// Devices with physical volumes: all that LVM may look at.
    physical: Vec<PathBuf>,
    volumes: Vec<Made>,
    mounted: Vec<Mounted>,
    /// Where the root file system is mounted, if the directory is ours.
    made_root: Option<PathBuf>,
}

/// A part of LVM's that exists.
enum Made {
    Group(String),
    Logical(Device),
}

/// A file system at its mount point.
struct Mounted {
    mount_point: String,
    mount: Mount,
    /// Where the files of a vfat wait for being written to this device: there is no need of a kernel driver.
    staging: Option<(PathBuf, String)>,
}

impl Disk {
    /// Nothing yet.
    pub fn new(places: DiskPlaces) -> Self {
        Self { places, ..Self::default() }
    }

    /// What an earlier process made and kept, as far as it is still there.
    ///
    /// # Errors
    /// When it can't be found out what is there.
    pub fn found(places: DiskPlaces, layout: &Layout, state: &State) -> Result<Self> {
        let mut disk = Self::new(places);
        for image in &layout.images {
            let Some(path) = state.image(&image.name) else { continue };
            let file = match OpenOptions::new().read(true).write(true).open(path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                file => file.with_context(|| path.to_owned())?,
            };
            disk.files.push(path.into());
            let partitions = image.table.iter().flat_map(|table| &table.partitions);
            for name in [&image.name].into_iter().chain(partitions.map(|partition| &partition.name)) {
                let Some(device) = state.device(name) else { continue };
                let device = LoopDevice::of_file(Path::new(device), &file)?;
                disk.devices.extend(device.map(|device| (name.clone(), device)));
            }
            disk.images.push((image.name.clone(), file));
        }
        disk.find_volumes(layout, state);
        for mount in &layout.mounts {
            let Some(path) = state.mounted_at(&mount.mount_point) else { continue };
            let Some(found) = Mount::at(Path::new(path))? else { continue };
            let made = layout.filesystems.iter().find(|made| made.name == mount.filesystem);
            let made = made.with_context(|| format!("mount {} has no file system", mount.name))?;
            let staging = match made.fstype.parse()? {
                FsKind::Vfat if disk.staging_of(made.device.name()).is_dir() => {
                    Some((disk.staging_of(made.device.name()), made.device.name().to_owned()))
                }
                _ => None,
            };
            disk.mounted.push(Mounted { mount_point: mount.mount_point.clone(), mount: found, staging });
        }
        Ok(disk)
    }

    fn find_volumes(&mut self, layout: &Layout, state: &State) {
        for lvm in &layout.lvm {
            for group in lvm.groups.iter().filter(|group| state.has_group(&group.name)) {
                let names = group.devices(lvm).into_iter().map(Device::name);
                let paths: Vec<PathBuf> =
                    names.filter_map(|name| self.loop_path(name).ok().map(Path::to_owned)).collect();
                if !paths.is_empty() {
                    self.physical.extend(paths);
                    self.volumes.push(Made::Group(group.name.clone()));
                }
            }
            for LogicalVolume { group, name, .. } in &lvm.logical {
                if state.device(name).is_some() && !self.volumes.is_empty() {
                    let device = Device::LogicalVolume { group: group.clone(), volume: name.clone() };
                    self.volumes.push(Made::Logical(device));
                }
            }
        }
    }

    /// Nothing is held but image files.
    pub fn is_idle(&self) -> bool {
        self.devices.is_empty() && self.mounted.is_empty()
    }

    /// Lets everything be there when this process has ended.
    ///
    /// # Errors
    /// When a block device can't be kept.
    pub fn keep(self) -> Result<()> {
        for (_, device) in self.devices {
            device.keep()?;
        }
        for mounted in self.mounted {
            mounted.mount.keep();
        }
        Ok(())
    }

    /// Unmounts and detaches everything that is held; what is left are the image files.
    ///
    /// # Errors
    /// The first thing that is busy; what is not given back yet stays held.
    pub fn take_apart(&mut self, layout: &Layout) -> Result<()> {
        while let Some(last) = self.mounted.last() {
            let mount_point = last.mount_point.clone();
            self.unmount(&mount_point)?;
        }
        if !self.volumes.is_empty() {
            layout.lvm.iter().rev().try_for_each(|lvm| self.take_down(lvm))?;
        }
        while let Some((_, last)) = self.devices.pop() {
            last.detach()?;
        }
        Ok(())
    }

    /// Deletes the image files that were made.
    ///
    /// # Errors
    /// When one can't be deleted.
    pub fn delete_images(&mut self) -> Result<()> {
        self.images.clear();
        for file in self.files.drain(..) {
            fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))?;
        }
        if let Some(root) = self.made_root.take().filter(|root| root.exists()) {
            fs::remove_dir(&root).with_context(|| format!("removing {}", root.display()))?;
        }
        Ok(())
    }

    pub(super) fn image(&self, name: &str) -> Result<&File> {
        let found = self.images.iter().find(|(known, _)| known == name);
        found.map(|(_, file)| file).with_context(|| format!("there is no image {name}"))
    }

    fn loop_path(&self, name: &str) -> Result<&Path> {
        let found = self.devices.iter().find(|(known, _)| known == name);
        found.map(|(_, device)| device.path()).with_context(|| format!("{name} is not attached"))
    }

    /// Paths of all devices.
    pub(super) fn devices(&self) -> Vec<PathBuf> {
        let volumes = self.volumes.iter().filter_map(|made| match made {
            Made::Logical(device) => mapper_path(device),
            Made::Group(_) => None,
        });
        self.devices.iter().map(|(_, device)| device.path().to_path_buf()).chain(volumes).collect()
    }

    /// The loop devices below a volume group.
    pub(super) fn below(&self, group: &VolumeGroup, lvm: &Lvm) -> Vec<LoopIdentity> {
        let names: Vec<&str> = group.devices(lvm).into_iter().map(Device::name).collect();
        let devices = self.devices.iter().filter(|(name, _)| names.contains(&name.as_str()));
        devices.map(|(_, device)| device.identity()).collect()
    }

    /// Where file systems of the image are mounted; staging directories are none.
    pub(super) fn mount_points(&self) -> impl Iterator<Item = &Path> {
        self.mounted.iter().filter(|mounted| mounted.staging.is_none()).map(|mounted| mounted.mount.dir())
    }

    /// Where the file system of a mount point is, or the directory in its place.
    pub(super) fn mounted_dir(&self, mount_point: &str) -> Option<&Path> {
        let found = self.mounted.iter().find(|mounted| mounted.mount_point == mount_point);
        found.map(|mounted| mounted.mount.dir())
    }

    fn staging_of(&self, device: &str) -> PathBuf {
        self.places.staging.join(device)
    }

    fn run_lvm(&self, command: &Command) -> Result<()> {
        lvm::run(command, &self.physical)
    }

    /// Gives everything back, the last taken first; goes on after errors.
    pub fn release(&mut self) -> Vec<anyhow::Error> {
        let mut errors = Vec::new();
        while let Some(mounted) = self.mounted.pop() {
            errors.extend(mounted.mount.unmount().err());
        }
        while let Some(made) = self.volumes.pop() {
            let undo = match &made {
                Made::Group(name) => vec![commands::remove_group(name)],
                Made::Logical(Device::LogicalVolume { group, volume }) => {
                    commands::remove_volume(group, volume)
                }
                Made::Logical(_) => Vec::new(),
            };
            errors.extend(undo.iter().filter_map(|command| self.run_lvm(command).err()));
        }
        while let Some((_, device)) = self.devices.pop() {
            errors.extend(device.detach().err());
        }
        self.images.clear();
        errors
    }
}

/// The path of a logical volume: /dev/GROUP/VOLUME is a link to it that only udev makes for sure.
fn mapper_path(device: &Device) -> Option<PathBuf> {
    device.mapper_name().map(|name| Path::new("/dev/mapper").join(name))
}

impl Places for Disk {
    fn device(&self, device: &Device) -> String {
        let attached = || self.loop_path(device.name()).ok().map(Path::to_path_buf);
        let path = mapper_path(device).or_else(attached);
        path.map_or_else(|| device.name().to_owned(), |path| path.display().to_string())
    }

    fn file(&self, image: &str) -> String {
        let directory = self.places.elsewhere.get(image).unwrap_or(&self.places.images);
        directory.join(format!("{image}.raw")).display().to_string()
    }

    fn mounted_at(&self, mount_point: &str) -> String {
        format!("{}{mount_point}", self.places.root.display())
    }
}

impl Disks for Disk {
    fn create_image(&mut self, name: &str, bytes: u64, _sector_size: u32) -> Result<()> {
        let path = PathBuf::from(self.file(name));
        let directory = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
        let context = || format!("image file {} of {bytes} bytes", path.display());
        let file =
            OpenOptions::new().read(true).write(true).create_new(true).open(&path).with_context(context)?;
        self.files.push(path.clone());
        file.set_len(bytes).with_context(context)?;
        self.images.push((name.to_owned(), file));
        Ok(())
    }

    fn write_table(&mut self, image: &str, geometry: &Geometry) -> Result<()> {
        let mut file = self.image(image)?;
        tables::write(&mut file, geometry).with_context(|| format!("partition table of image {image}"))
    }

    fn attach(&mut self, device: &str, image: &str, offset: u64, bytes: u64, sector_size: u32) -> Result<()> {
        let attached = LoopDevice::attach(self.image(image)?, offset, bytes, sector_size, Access::ReadWrite)
            .with_context(|| format!("block device for {device}"))?;
        self.devices.push((device.to_owned(), attached));
        Ok(())
    }

    fn device(&mut self, name: &str) -> Result<PathBuf> {
        let of_volume = self.volumes.iter().find_map(|made| match made {
            Made::Logical(device) if device.name() == name => mapper_path(device),
            Made::Logical(_) | Made::Group(_) => None,
        });
        of_volume.map_or_else(|| self.loop_path(name).map(Path::to_path_buf), Ok)
    }

    fn make_volume(&mut self, volume: Volume<'_>) -> Result<()> {
        let command = match volume {
            Volume::Physical(volume) => {
                self.physical.push(self.loop_path(volume.device.name())?.to_path_buf());
                commands::pvcreate(volume, self)
            }
            Volume::Group(group, lvm) => commands::vgcreate(group, lvm, self),
            Volume::Logical(volume) => commands::lvcreate(volume),
        };
        self.run_lvm(&command).with_context(|| format!("making volume {}", volume.name()))?;
        self.volumes.extend(match volume {
            Volume::Physical(_) => None,
            Volume::Group(group, _) => Some(Made::Group(group.name.clone())),
            Volume::Logical(LogicalVolume { group, name, .. }) => {
                let (group, volume) = (group.clone(), name.clone());
                Some(Made::Logical(Device::LogicalVolume { group, volume }))
            }
        });
        Ok(())
    }

    fn take_down(&mut self, lvm: &Lvm) -> Result<()> {
        commands::deactivate(lvm).iter().try_for_each(|command| self.run_lvm(command))?;
        let ours = |name: &str| lvm.groups.iter().any(|group| group.name == name);
        self.volumes.retain(|made| match made {
            Made::Group(name) => !ours(name),
            Made::Logical(Device::LogicalVolume { group, .. }) => !ours(group),
            Made::Logical(_) => false,
        });
        Ok(())
    }

    fn make_file_system(&mut self, device: &str, wanted: &FileSystem) -> Result<()> {
        let kind: FsKind = wanted.kind.parse()?;
        let format = Format {
            kind,
            label: Some(&wanted.label),
            uuid: wanted.uuid.as_deref(),
            options: &wanted.options,
            epoch: wanted.epoch,
        };
        mkfs(&Disks::device(self, device)?, &format).with_context(|| format!("{} on {device}", wanted.kind))
    }

    /// vfat gets a directory of its own there instead.
    fn mount(&mut self, device: &str, kind: &str, mount_point: &str) -> Result<()> {
        let at = self.places.root.join(mount_point.trim_start_matches('/'));
        if mount_point == "/" && !at.exists() {
            self.made_root = Some(at.clone());
        }
        fs::create_dir_all(&at).with_context(|| format!("making {}", at.display()))?;
        let path = Disks::device(self, device)?;
        let is_vfat = matches!(kind.parse()?, FsKind::Vfat);
        let by_kernel = self.places.kernel_vfat && probe::filesystem("vfat").is_ok();
        let (mount, staging) = if is_vfat && !by_kernel {
            let staging = self.staging_of(device);
            fs::create_dir_all(&staging).with_context(|| format!("making {}", staging.display()))?;
            let mount = Mount::bind(&staging, &at, Access::ReadWrite)?;
            (mount, Some((staging, device.to_owned())))
        } else {
            // What vfat can't hold (owners, modes) is dropped without an error.
            let (kind, options) = if is_vfat { ("vfat", "quiet") } else { (kind, "") };
            (Mount::new(&path, &at, kind, options)?, None)
        };
        self.mounted.push(Mounted { mount_point: mount_point.to_owned(), mount, staging });
        Ok(())
    }

    fn unmount(&mut self, mount_point: &str) -> Result<()> {
        let index = self.mounted.iter().position(|mounted| mounted.mount_point == mount_point);
        let Some(index) = index else { bail!("nothing is mounted at {mount_point}") };
        let Mounted { mount, staging, .. } = self.mounted.remove(index);
        if staging.is_none() {
            mounts::syncfs(mount.dir())?;
            mounts::fstrim(mount.dir())?;
        }
        mount.unmount()?;
        match staging {
            Some((staging, device)) => vfat::fill(&Disks::device(self, &device)?, &staging)
                .with_context(|| format!("filling the vfat of {mount_point}")),
            None => Ok(()),
        }
    }

    fn detach(&mut self, device: &str) -> Result<()> {
        let index = self.devices.iter().position(|(known, _)| known == device);
        let Some(index) = index else { bail!("{device} is not attached") };
        let (_, device) = self.devices.remove(index);
        device.detach()
    }
}
