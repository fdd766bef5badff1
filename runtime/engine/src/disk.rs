//! The disk: images, tables, volumes, file systems and mounts as the layout says, in the order it says. Knows the order; how each is done
//! is the machine's. Facts: compat/CONTRACT.md sections 5.4 to 5.6.

use std::path::Path;

use anyhow::Context;
use dibw_plan::layout::{Geometry, Image, Layout, LayoutNode};
use dibw_plan::plan::DiskPlan;

use crate::disks::{Disks, FileSystem, Volume};
use crate::events::Level;
use crate::failure::Failure;
use crate::run::Build;

/// Makes one node. `size` (bytes) counts for images without configured size; `epoch` is the time to write into file systems.
///
/// # Errors
/// When the machine refuses, or a partition has no room.
pub fn make(
    disks: &mut dyn Disks,
    node: LayoutNode<'_>,
    size: u64,
    epoch: Option<u64>,
) -> Result<(), Failure> {
    match node {
        LayoutNode::Image(image) => make_image(disks, image, size)?,
        LayoutNode::Partitions(image) => {
            let geometry: Option<Geometry> = image.resolve_geometry(size)?;
            for partition in geometry.iter().flat_map(|geometry| &geometry.partitions) {
                let (start, length) = (partition.start, partition.length);
                disks.attach(&partition.name, &image.name, start, length, image.sector_size)?;
            }
        }
        LayoutNode::Lvm(_) => {}
        LayoutNode::PhysicalVolume(volume) => disks.make_volume(Volume::Physical(volume))?,
        LayoutNode::VolumeGroup(group, lvm) => disks.make_volume(Volume::Group(group, lvm))?,
        LayoutNode::LogicalVolume(volume) => disks.make_volume(Volume::Logical(volume))?,
        LayoutNode::Filesystem(wanted) => {
            let format = FileSystem {
                kind: wanted.fstype.clone(),
                label: wanted.label.clone(),
                uuid: Some(wanted.uuid.clone()),
                options: wanted.opts.clone(),
                epoch,
            };
            disks.make_file_system(wanted.device.name(), &format)?;
        }
        LayoutNode::Mount(mount, made) => {
            disks.mount(made.device.name(), &made.fstype, &mount.mount_point)?;
        }
    }
    Ok(())
}

/// The file gets its table before it becomes a device, which would not see later writes to the file.
fn make_image(disks: &mut dyn Disks, image: &Image, size: u64) -> Result<(), Failure> {
    let size = image.size.unwrap_or(size);
    disks.create_image(&image.name, size, image.sector_size)?;
    if let Some(geometry) = image.resolve_geometry(size)? {
        disks.write_table(&image.name, &geometry)?;
    }
    Ok(disks.attach(&image.name, &image.name, 0, 0, image.sector_size)?)
}

/// Takes one node apart; images stay as files.
///
/// # Errors
/// When something is busy.
pub fn take_apart(disks: &mut dyn Disks, node: LayoutNode<'_>) -> Result<(), Failure> {
    match node {
        LayoutNode::Mount(mount, _) => disks.unmount(&mount.mount_point)?,
        LayoutNode::Lvm(lvm) => disks.take_down(lvm)?,
        LayoutNode::Partitions(image) => {
            let partitions = image.table.iter().flat_map(|table| table.partitions.iter().rev());
            for partition in partitions {
                disks.detach(&partition.name)?;
            }
        }
        LayoutNode::Image(image) => disks.detach(&image.name)?,
        LayoutNode::PhysicalVolume(_)
        | LayoutNode::VolumeGroup(..)
        | LayoutNode::LogicalVolume(_)
        | LayoutNode::Filesystem(_) => {}
    }
    Ok(())
}

/// Every block device of a layout that is made, as `IMAGE_BLOCK_DEVICES` has them: the inside of a bash array.
fn block_devices(disks: &mut dyn Disks, layout: &Layout) -> Result<String, Failure> {
    let mut devices = String::new();
    for node in layout.nodes() {
        let names: Vec<&String> = match node {
            LayoutNode::Image(image) => vec![&image.name],
            LayoutNode::Partitions(image) => {
                let partitions = image.table.iter().flat_map(|table| &table.partitions);
                partitions.map(|partition| &partition.name).collect()
            }
            LayoutNode::LogicalVolume(volume) => vec![&volume.name],
            _ => Vec::new(),
        };
        for name in names {
            devices.push_str(&format!(" [{name}]={} ", disks.device(name)?.display()));
        }
    }
    Ok(devices)
}

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
        let epoch = (plan.source_date_epoch > 0).then_some(plan.source_date_epoch);
        for node in disk.layout.nodes() {
            make(&mut *self.machine(), node, size, epoch)?;
        }
        // The layers that are still being kept go with the tree.
        self.finish_layers();
        self.note_origin();
        self.machine().move_target_to_disk()?;
        self.on_disk = true;
        self.tell_hooks(disk, size)
    }

    /// What `dib-block-device` reads when a hook asks it: the configuration and its parameters, and once it is known the size of images.
    pub(crate) fn write_disk_parameters(&mut self) -> Result<(), Failure> {
        let plan = self.plan;
        let Some(disk) = &plan.disk else { return Ok(()) };
        let build_dir = self.machine().work_dir().to_path_buf();
        let directory = build_dir.join("block-device");
        let (config, parameters) = (directory.join("config.yaml"), directory.join("params.yaml"));
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let at = |path: &Path| quoted(&path.display().to_string());
        let layout = &disk.layout;
        let mut lines = vec![
            format!("config: {}", at(&config)),
            format!("image-dir: {}", at(&build_dir.join("images"))),
            format!("root-fs-type: {}", quoted(layout.root_fstype().unwrap_or_default())),
            format!("root-label: {}", quoted(layout.root_label().unwrap_or_default())),
            format!("mount-base: {}", at(&build_dir.join("mnt"))),
            format!("build-dir: {}", at(&build_dir)),
        ];
        lines.extend(self.image_bytes.map(|bytes| format!("image-size: {}KiB", bytes / 1024)));
        let text = lines.join("\n") + "\n";
        std::fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
        for (path, text) in [(&config, disk.text.as_str()), (&parameters, text.as_str())] {
            std::fs::write(path, text).with_context(|| path.display().to_string())?;
        }
        let parameters = parameters.display().to_string();
        self.base_variables.insert("DIB_BLOCK_DEVICE_PARAMS_YAML".into(), parameters);
        Ok(())
    }

    /// Hooks of the block-device phase are told the size of the image, in KiB; what they change about the tree changes nothing about it.
    pub(crate) fn settle_image_size(&mut self) -> Result<(), Failure> {
        let plan = self.plan;
        let Some(disk) = &plan.disk else { return Ok(()) };
        let size = self.image_size(disk)?;
        self.image_bytes = Some(size);
        self.write_disk_parameters()?;
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

    /// The variables of the last phases.
    fn tell_hooks(&mut self, disk: &DiskPlan, size: u64) -> Result<(), Failure> {
        let devices = block_devices(&mut *self.machine(), &disk.layout)?;
        if let Some(image) = disk.layout.root_image() {
            let device = self.machine().device(&image.name)?.display().to_string();
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
        disk.layout.nodes().into_iter().rev().try_for_each(|node| take_apart(&mut *machine, node))
    }
}
