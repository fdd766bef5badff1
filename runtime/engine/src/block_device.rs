//! The command `dib-block-device`: the disk of a layout, made by one process and taken apart by others. What they must know of each other
//! lies in `<build-dir>/states/block-device`. The layout and the calls are those of a build. Facts: compat/CONTRACT.md 3.4 and 5.4 to 5.6.

mod files;

use std::path::{Path, PathBuf};

use dibw_compat::block_device::Parameters;
use dibw_plan::layout::{self, Layout, LayoutNode, LayoutParameters, commands};
use dibw_sys::{lvm, probe, signals, tool};

use self::files::Files;
use crate::disk;
use crate::failure::Failure;
use crate::real::{Disk, DiskPlaces};

/// The questions that `getval` answers.
const SYMBOLS: [&str; 7] = [
    "root-label",
    "root-fstype",
    "boot-label",
    "mount-points",
    "image-path",
    "image-block-device",
    "image-block-devices",
];

/// A disk that outlives the processes working on it.
pub struct BlockDevice {
    parameters: Parameters,
    files: Files,
}

impl BlockDevice {
    /// With the parameters of a file.
    ///
    /// # Errors
    /// When the file can't be read or says nothing of a build directory.
    pub fn new(parameters: &Path) -> Result<Self, Failure> {
        let text = files::read(parameters)?;
        let parameters = Parameters::parse(&text, &parameters.display().to_string())?;
        let files = Files::new(Path::new(parameters.required("build-dir")?));
        Ok(Self { parameters, files })
    }

    /// Reads the configuration and writes down what is meant. `sector_size` (`DIB_BLOCK_SIZE`) beats the configured.
    ///
    /// # Errors
    /// All that is wrong with the configuration.
    pub fn init(&self, sector_size: Option<u32>) -> Result<(), Failure> {
        let file = self.parameters.required("config")?;
        let (text, root) = (files::read(Path::new(file))?, self.parameters.root_defaults());
        // Every disk has identifiers of its own.
        let seed = files::read(Path::new("/proc/sys/kernel/random/uuid"))?;
        let parameters = LayoutParameters { file, root: &root, sector_size, seed: seed.as_bytes() };
        let layout = layout::parse(&text, &parameters)?;
        for warning in &layout.warnings {
            tracing::warn!("{warning}");
        }
        self.files.write_configuration(&layout::flatten(&text, file, &root)?, &layout)?;
        tracing::info!("configuration written to {}", self.files.directory().display());
        Ok(())
    }

    /// The answer to `getval`.
    ///
    /// # Errors
    /// An unknown question, or one that comes too early.
    pub fn value(&self, symbol: &str) -> Result<String, Failure> {
        if !SYMBOLS.contains(&symbol) {
            let failure = Failure::new(format!("Invalid symbol [{symbol}] for getval"));
            return Err(failure.hint(format!("known symbols: {}", SYMBOLS.join(", "))));
        }
        let layout = self.files.layout()?;
        let nothing = || Failure::new("the configuration mounts nothing at `/`");
        let answer = match symbol {
            "root-label" => layout.root_label().ok_or_else(nothing)?.to_owned(),
            "root-fstype" => layout.root_fstype().ok_or_else(nothing)?.to_owned(),
            "boot-label" => layout.boot_label().unwrap_or_default().to_owned(),
            "mount-points" => layout.mount_points().join("|"),
            _ => self.value_of_state(symbol, &layout)?,
        };
        Ok(answer)
    }

    fn value_of_state(&self, symbol: &str, layout: &Layout) -> Result<String, Failure> {
        let state = self.files.state()?.ok_or_else(too_early)?;
        let image = layout.root_image().map(|image| image.name.as_str()).unwrap_or_default();
        let answer = match symbol {
            "image-path" => state.image(image),
            "image-block-device" => state.device(image),
            _ => return Ok(state.block_devices(layout)),
        };
        answer
            .map(str::to_owned)
            .ok_or_else(|| Failure::new("the state knows of no image with the root file system"))
    }

    /// Makes the disk and mounts its file systems at `mount-base`. They stay when this process ends.
    ///
    /// # Errors
    /// The first thing that went wrong; what had been made by then is given back.
    pub fn create(&self) -> Result<(), Failure> {
        let (layout, size) = (self.files.layout()?, self.parameters.image_size()?);
        let faults = layout.check(Some(size));
        if !faults.is_empty() {
            return Err(faults.into());
        }
        can_make_volumes(&layout)?;
        if let Some(found) = self.found(&layout)?.filter(|found| !found.is_idle()) {
            drop(found);
            return Err(Failure::new("the disk is there already").hint("dib-block-device umount"));
        }
        signals::install()?;
        let mut disk = Disk::new(self.places(&layout)?);
        let made = self.make(&layout, size, &mut disk);
        let Err(mut failure) = made else { return Ok(disk.keep()?) };
        let _shield = signals::Shield::raise();
        let errors = disk.release().into_iter().chain(disk.delete_images().err());
        failure.clean_up.extend(errors.map(|error| format!("clean-up: {error:#}")));
        if let Err(error) = self.files.remove_state() {
            failure.clean_up.push(format!("clean-up: {error:#}"));
        }
        Err(failure)
    }

    fn make(&self, layout: &Layout, size: u64, disk: &mut Disk) -> Result<(), Failure> {
        let geometries = layout.resolve_geometry(size)?;
        for (index, node) in layout.nodes().into_iter().enumerate() {
            if signals::interrupted().is_some() {
                return Err(Failure::interrupted());
            }
            // What outlives a killed process is written down before it is made; the paths of block devices are known only after.
            let is_device = matches!(node, LayoutNode::Image(_) | LayoutNode::Partitions(_));
            if !is_device {
                self.files.write_state(layout, index + 1, disk)?;
            }
            disk::make(disk, node, size, None)?;
            if is_device {
                self.files.write_state(layout, index + 1, disk)?;
            }
            for command in commands::create_node(node, &geometries, disk) {
                tracing::debug!("done, as by: {}", command.join(" "));
            }
        }
        Ok(())
    }

    /// Takes the disk apart; the image files stay.
    ///
    /// # Errors
    /// When something is busy. It can be tried again.
    pub fn umount(&self) -> Result<(), Failure> {
        match self.take_apart()? {
            Some(_) => Ok(()),
            None => {
                tracing::info!("there is no state, so nothing to take apart");
                Ok(())
            }
        }
    }

    /// Forgets a disk that was taken apart; does that first, if it was not. The image files stay.
    ///
    /// # Errors
    /// When there is none, or something is busy.
    pub fn cleanup(&self) -> Result<(), Failure> {
        self.take_apart()?.ok_or_else(too_early)?;
        for command in commands::cleanup(&self.files.layout()?) {
            let Some((program, arguments)) = command.split_first() else { continue };
            if let Err(error) = tool::run(program, arguments) {
                tracing::debug!("{error:#}");
            }
        }
        self.files.remove()
    }

    /// Takes the disk apart and deletes it, image files included.
    ///
    /// # Errors
    /// When there is none, or something is busy.
    pub fn delete(&self) -> Result<(), Failure> {
        let mut disk = self.take_apart()?.ok_or_else(too_early)?;
        disk.delete_images()?;
        self.files.remove()
    }

    /// Writes the fstab of the image to `<build-dir>/built/etc/fstab`.
    ///
    /// # Errors
    /// When the disk is not there, or the file can't be written.
    pub fn write_fstab(&self) -> Result<(), Failure> {
        self.files.state()?.ok_or_else(too_early)?;
        self.files.write_fstab(&self.files.layout()?.fstab())
    }

    /// What is still there of the disk, none when it was never made or is forgotten.
    fn found(&self, layout: &Layout) -> Result<Option<Disk>, Failure> {
        let Some(state) = self.files.state()? else { return Ok(None) };
        Ok(Some(Disk::found(self.places(layout)?, layout, &state)?))
    }

    fn take_apart(&self) -> Result<Option<Disk>, Failure> {
        if self.files.state()?.is_none() {
            return Ok(None);
        }
        let layout = self.files.layout()?;
        let Some(mut disk) = self.found(&layout)? else { return Ok(None) };
        for command in commands::umount(&layout, &disk) {
            tracing::debug!("to do, as by: {}", command.join(" "));
        }
        disk.take_apart(&layout)?;
        Ok(Some(disk))
    }

    fn places(&self, layout: &Layout) -> Result<DiskPlaces, Failure> {
        let elsewhere = layout
            .images
            .iter()
            .filter_map(|image| Some((image.name.clone(), PathBuf::from(image.directory.as_ref()?))));
        Ok(DiskPlaces {
            images: self.parameters.required("image-dir")?.into(),
            elsewhere: elsewhere.collect(),
            root: self.parameters.required("mount-base")?.into(),
            staging: self.files.staging(),
            kernel_vfat: true,
        })
    }
}

/// Volumes need a kernel with device-mapper, the tools, and names that the host has not.
fn can_make_volumes(layout: &Layout) -> Result<(), Failure> {
    if !layout.needs_device_mapper() {
        return Ok(());
    }
    probe::device_mapper()?;
    let taken = layout.lvm.iter().flat_map(|lvm| &lvm.groups).find(|group| lvm::is_taken(&group.name));
    match taken {
        Some(group) => {
            Err(Failure::new(format!("this machine has a volume group {} of its own", group.name))
                .hint("give the one of the image another name"))
        }
        None => Ok(()),
    }
}

fn too_early() -> Failure {
    Failure::new("State dump not found: there is no disk").hint("dib-block-device create")
}
