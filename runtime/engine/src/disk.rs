//! The disk: images, tables, file systems and mounts as the layout says, in the order it says. Knows the order; how each is done is the
//! machine's. Facts: compat/CONTRACT.md sections 5.4 to 5.6.

use dibw_plan::layout::{Geometry, Image};
use dibw_plan::plan::DiskPlan;

use crate::events::Level;
use crate::failure::Failure;
use crate::machine::FileSystem;
use crate::run::Build;

/// How the mount point of swap space is written.
const NOT_MOUNTED: &str = "none";

impl Build<'_> {
    /// Makes the disk and moves the target onto it.
    pub(crate) fn create_disk(&mut self) -> Result<(), Failure> {
        let plan = self.plan;
        let Some(disk) = &plan.disk else { return Err(Failure::new("the plan has no disk")) };
        self.files()?.write("/etc/fstab", disk.layout.fstab().as_bytes(), 0o644)?;
        let size = match self.image_bytes {
            Some(settled) => settled,
            None => self.image_size(disk)?,
        };
        for image in &disk.layout.images {
            self.create_image(image, size)?;
        }
        for file_system in &disk.layout.filesystems {
            let format = FileSystem {
                kind: file_system.fstype.clone(),
                label: file_system.label.clone(),
                uuid: Some(file_system.uuid.clone()),
                options: file_system.opts.clone(),
                epoch: (plan.source_date_epoch > 0).then_some(plan.source_date_epoch),
            };
            self.machine().make_file_system(file_system.device.name(), &format)?;
        }
        for mount in disk.layout.mounts.iter().filter(|mount| mount.mount_point != NOT_MOUNTED) {
            let made = disk.layout.filesystems.iter().find(|made| made.name == mount.filesystem);
            let Some(made) = made else {
                return Err(Failure::new(format!("mount {} has no file system", mount.name)));
            };
            self.machine().mount(made.device.name(), &made.fstype, &mount.mount_point)?;
        }
        self.machine().move_target_to_disk()?;
        self.tell_hooks(disk, size)
    }

    /// Hooks of the block-device phase are told the size of the image, in KiB; what they change about the tree changes nothing about it.
    pub(crate) fn settle_image_size(&mut self) -> Result<(), Failure> {
        let plan = self.plan;
        let Some(disk) = &plan.disk else { return Ok(()) };
        let size = self.image_size(disk)?;
        self.image_bytes = Some(size);
        self.base_variables.insert("DIB_IMAGE_SIZE".into(), (size / 1024).to_string());
        Ok(())
    }

    /// Bytes of the image: as asked for, or from what the target holds.
    fn image_size(&self, disk: &DiskPlan) -> Result<u64, Failure> {
        let used = self.machine().usage()?;
        let size = disk.layout.image_size(used.div_ceil(1024), &disk.size);
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        self.message(Level::Info, "", format!("{} MiB of files, image of {} MiB", mib(used), mib(size)));
        Ok(size)
    }

    fn create_image(&self, image: &Image, size: u64) -> Result<(), Failure> {
        let size = image.size.unwrap_or(size);
        let geometry: Option<Geometry> = image.resolve_geometry(size)?;
        let mut machine = self.machine();
        machine.create_image(&image.name, size, image.sector_size)?;
        if let Some(geometry) = &geometry {
            machine.write_table(&image.name, geometry)?;
        }
        machine.attach(&image.name, &image.name, 0, 0, image.sector_size)?;
        for partition in geometry.iter().flat_map(|geometry| &geometry.partitions) {
            machine.attach(
                &partition.name,
                &image.name,
                partition.start,
                partition.length,
                image.sector_size,
            )?;
        }
        Ok(())
    }

    /// The variables of the last phases.
    fn tell_hooks(&mut self, disk: &DiskPlan, size: u64) -> Result<(), Failure> {
        let mut devices = String::new();
        for image in &disk.layout.images {
            let partitions = image.table.iter().flat_map(|table| &table.partitions);
            let names = std::iter::once(&image.name).chain(partitions.map(|partition| &partition.name));
            for name in names {
                let device = self.machine().device(name)?.display().to_string();
                devices.push_str(&format!(" [{name}]={device} "));
            }
        }
        if let Some(first) = disk.layout.images.first() {
            let device = self.machine().device(&first.name)?.display().to_string();
            self.base_variables.insert("IMAGE_BLOCK_DEVICE".into(), device);
        }
        let mount = self.target()?.display().to_string();
        self.base_variables.insert("IMAGE_BLOCK_DEVICES".into(), devices);
        self.base_variables.insert("TMP_MOUNT_PATH".into(), mount);
        self.base_variables.insert("DIB_IMAGE_SIZE".into(), (size / 1024).to_string());
        self.variables.extend(self.base_variables.clone());
        Ok(())
    }

    /// Takes the disk apart; what is left are the image files.
    pub(crate) fn finish_disk(&mut self) -> Result<(), Failure> {
        let plan = self.plan;
        let Some(disk) = &plan.disk else { return Err(Failure::new("the plan has no disk")) };
        let mut machine = self.machine();
        for mount in disk.layout.mounts.iter().rev().filter(|mount| mount.mount_point != NOT_MOUNTED) {
            machine.unmount(&mount.mount_point)?;
        }
        for image in disk.layout.images.iter().rev() {
            for partition in image.table.iter().flat_map(|table| table.partitions.iter().rev()) {
                machine.detach(&partition.name)?;
            }
            machine.detach(&image.name)?;
        }
        Ok(())
    }
}
