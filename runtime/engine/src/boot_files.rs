//! Takes the kernel and initial ramdisk out of a finished image. Which they are is `dibw_compat::boot_files`' to say; here the image is
//! opened, mounted for reading only and read. Called by the command `disk-image-get-kernel`, in a mount namespace of its own. What the image
//! holds is not trusted: no link in it is followed out of /boot.

use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use dibw_compat::boot_files::{BootFiles, Entry, Patterns, System, choose};
use dibw_image::{qcow2, table};
use dibw_sys::artifact::{Artifact, Existing, commit_all};
use dibw_sys::loops::{Access, LoopDevice};
use dibw_sys::mounts::Mount;

/// Types of file systems that a root or /boot may have, likeliest first.
const TYPES: [&str; 5] = ["ext4", "xfs", "btrfs", "ext2", "vfat"];

/// How many names are tried for a directory.
const NAME_TRIES: u32 = 1000;

/// Loop devices have whole sectors.
const SECTOR: u64 = 512;

/// Where what comes from and goes to.
pub struct Extraction<'a> {
    /// The image, raw or qcow2.
    pub image: &'a Path,
    /// `DIRECTORY/NAME-vmlinuz` and `DIRECTORY/NAME-initrd` are written.
    pub directory: &'a Path,
    /// See `directory`.
    pub name: &'a str,
    /// Which files of /boot, when the caller says so.
    pub patterns: &'a Patterns,
    /// `DISTRO_NAME` of the caller.
    pub distro_name: &'a str,
}

/// Writes both files, which take the place of older ones, and gives their paths.
///
/// # Errors
/// When the image can't be read, has no system or no kernel with a ramdisk; when writing fails, and then nothing is written.
pub fn extract(extraction: &Extraction<'_>) -> Result<[PathBuf; 2]> {
    let context = || format!("image {}", extraction.image.display());
    let image = File::open(extraction.image).with_context(context)?;
    // Dropped, it leaves nothing.
    let scratch = Artifact::create(&extraction.directory.join(format!("{}-raw", extraction.name)))?;
    let raw = if qcow2::read::is_qcow2(&image).with_context(context)? {
        qcow2::read::to_raw(&image, scratch.file()).with_context(context)?;
        scratch.file()
    } else {
        &image
    };
    let places = MountPoints::new()?;
    let systems = mount_all(raw, &places).with_context(context)?;
    let (boot, files) = find(&systems, extraction).with_context(context)?;
    let written = copy(&boot, &files, extraction);
    for system in systems {
        system.mount.unmount()?;
        system.device.detach()?;
    }
    written
}

/// A file system of the image.
struct Mounted {
    mount: Mount,
    device: LoopDevice,
}

/// Mounts what can be mounted, for reading only.
fn mount_all(raw: &File, places: &MountPoints) -> Result<Vec<Mounted>> {
    let mut disk = raw.try_clone().context("a second descriptor of the image")?;
    let mut systems = Vec::new();
    for (number, range) in table::read::partitions(&mut disk)?.into_iter().enumerate() {
        let Range { start, end } = range;
        let length = (end - start) / SECTOR * SECTOR;
        if length == 0 || start % SECTOR != 0 {
            continue;
        }
        let device = LoopDevice::attach(raw, start, length, SECTOR as u32, Access::ReadOnly)?;
        match mount(&device, &places.make(number)?) {
            Some(mount) => systems.push(Mounted { mount, device }),
            None => device.detach()?,
        }
    }
    ensure!(!systems.is_empty(), "no file system in it can be mounted");
    Ok(systems)
}

fn mount(device: &LoopDevice, place: &Path) -> Option<Mount> {
    TYPES.iter().find_map(|kind| match Mount::new(device.path(), place, kind, "ro,nosuid,nodev,noexec") {
        Ok(mount) => Some(mount),
        Err(error) => {
            tracing::debug!("{error:#}");
            None
        }
    })
}

/// The directory with the kernels, and the two to be taken: /boot of the file system that has a known /etc, or one of the others.
fn find(systems: &[Mounted], extraction: &Extraction<'_>) -> Result<(PathBuf, BootFiles)> {
    let mut system = None;
    let mut candidates = Vec::new();
    for mounted in systems {
        let root = mounted.mount.dir();
        let etc = real_entries(&root.join("etc"))?;
        let etc: Vec<String> = etc.into_iter().map(|(name, _)| name).collect();
        if let Some(known) = System::of(&etc, extraction.distro_name).filter(|_| !etc.is_empty()) {
            system = Some(known);
            candidates.insert(0, root.join("boot"));
        }
        candidates.push(root.join("boot"));
        candidates.push(root.to_owned());
    }
    for directory in candidates {
        if let Some(files) = choose(system, &real_entries(&directory)?, extraction.patterns) {
            return Ok((directory, files));
        }
    }
    match system {
        None => bail!(
            "the operating system in it is not known, by its /etc\n  hint: set DIB_BAREMETAL_KERNEL_PATTERN and \
             DIB_BAREMETAL_INITRD_PATTERN, or DISTRO_NAME"
        ),
        Some(_) => bail!("there is no kernel with an initial ramdisk in its /boot"),
    }
}

/// Names in a directory, with where links lead; none when it is no directory itself.
fn real_entries(directory: &Path) -> Result<Vec<Entry>> {
    let context = || format!("listing {}", directory.display());
    if !directory.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Ok(Vec::new());
    }
    let mut entries = Vec::new();
    for entry in fs::read_dir(directory).with_context(context)? {
        let entry = entry.with_context(context)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let target = fs::read_link(entry.path()).ok().and_then(|target| target.to_str().map(str::to_owned));
        entries.push((name, target));
    }
    Ok(entries)
}

fn copy(boot: &Path, files: &BootFiles, extraction: &Extraction<'_>) -> Result<[PathBuf; 2]> {
    let mut artifacts = Vec::new();
    for (name, suffix) in [(&files.kernel, "vmlinuz"), (&files.ramdisk, "initrd")] {
        let from = regular_file(boot, name)?;
        let to = extraction.directory.join(format!("{}-{suffix}", extraction.name));
        let artifact = Artifact::create(&to)?;
        let mut source = File::open(&from).with_context(|| format!("opening {}", from.display()))?;
        std::io::copy(&mut source, &mut artifact.file())
            .with_context(|| format!("copying {} to {}", from.display(), to.display()))?;
        artifacts.push((artifact, Existing::Replace));
    }
    let paths = [artifacts[0].0.final_path(), artifacts[1].0.final_path()];
    commit_all(artifacts)?;
    Ok(paths)
}

/// The file of that name in /boot, or the one beside it that it is a link to.
fn regular_file(boot: &Path, name: &str) -> Result<PathBuf> {
    let beside = |name: &str| match name.contains('/') || name == ".." {
        true => bail!("/boot/{name} does not lie in /boot"),
        false => Ok(boot.join(name)),
    };
    let path = beside(name)?;
    let path = match fs::read_link(&path) {
        Ok(target) => beside(&target.to_string_lossy())?,
        Err(_) => path,
    };
    let metadata = path.symlink_metadata().with_context(|| format!("{}", path.display()))?;
    ensure!(metadata.is_file(), "/boot/{name} is not a regular file");
    Ok(path)
}

/// Directories to mount on, which go away with the value.
struct MountPoints {
    base: PathBuf,
}

impl MountPoints {
    /// The first free name: a number of the process would be one of its own pid namespace.
    fn new() -> Result<Self> {
        for number in 0.. {
            let base = std::env::temp_dir().join(format!("dibw-boot-files.{number}"));
            match fs::create_dir(&base) {
                Ok(()) => return Ok(Self { base }),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && number < NAME_TRIES => {}
                Err(error) => return Err(error).with_context(|| format!("making {}", base.display())),
            }
        }
        unreachable!("the last try returns")
    }

    fn make(&self, number: usize) -> Result<PathBuf> {
        let place = self.base.join(number.to_string());
        fs::create_dir(&place).with_context(|| format!("making {}", place.display()))?;
        Ok(place)
    }
}

impl Drop for MountPoints {
    /// Plain directories only: never into something that is still mounted.
    fn drop(&mut self) {
        let places = fs::read_dir(&self.base).into_iter().flatten().flatten().map(|entry| entry.path());
        for place in places.chain([self.base.clone()]) {
            if let Err(error) = fs::remove_dir(&place) {
                tracing::warn!("{}: {error}", place.display());
            }
        }
    }
}
