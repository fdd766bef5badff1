//! Opens what is to be compared: a directory, a tar archive, or a disk image, whose partitions are attached and mounted read-only.
//! The caller is in a mount namespace of its own (`dibw_sys::supervise`), which ends the mounts and the loop devices with it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result};
use dibw_image::checksum::{Algorithms, of_file};
use dibw_sys::loops::{Access, LoopDevice};
use dibw_sys::mounts::Mount;
use dibw_sys::tool;
use serde_json::Value;

use super::inventory::Inventory;

const SECTOR: u64 = 512;
/// What dumpe2fs says that is no accident of one build.
const EXT_FACTS: [&str; 8] = [
    "Filesystem features",
    "Default mount options",
    "Filesystem flags",
    "Inode size",
    "Block size",
    "Journal features",
    "Total journal size",
    "Errors behavior",
];

/// The inventory of an image, and what keeps its files readable.
#[derive(Debug)]
pub struct Source {
    /// What it holds.
    pub inventory: Inventory,
    _mounted: Vec<(Mount, LoopDevice)>,
}

impl Source {
    /// Opens `path`, unpacking below `scratch`, an empty directory.
    ///
    /// # Errors
    /// When it is none of these, or can't be read.
    pub fn open(path: &Path, scratch: &Path) -> Result<Self> {
        let mut source = Self { inventory: Inventory::default(), _mounted: Vec::new() };
        let name = path.file_name().map(OsStr::to_string_lossy).unwrap_or_default();
        if path.is_dir() {
            source.inventory.add_tree(path, "")?;
        } else if name.ends_with(".tgz") || name.ends_with(".tar") || name.contains(".tar.") {
            let text = |path: &Path| path.display().to_string();
            let flags = ["-xp", "--xattrs", "--xattrs-include=*", "--acls", "--numeric-owner", "-C"];
            let places = [text(scratch), "-f".to_owned(), text(path)];
            tool::run("tar", flags.iter().map(|flag| (*flag).to_owned()).chain(places))?;
            source.inventory.add_tree(scratch, "")?;
        } else {
            source.open_image(path, scratch).with_context(|| path.display().to_string())?;
        }
        Ok(source)
    }

    fn open_image(&mut self, path: &Path, scratch: &Path) -> Result<()> {
        let mut raw = path.to_owned();
        if path.extension() != Some(OsStr::new("raw")) {
            raw = scratch.join("image.raw");
            let args: [&OsStr; 5] =
                ["convert".as_ref(), "-O".as_ref(), "raw".as_ref(), path.as_ref(), raw.as_ref()];
            tool::run("qemu-img", args)?;
        }
        let image = File::open(&raw).with_context(|| raw.display().to_string())?;
        let Ok(table) = tool::run("sfdisk", ["--json".as_ref(), raw.as_os_str()]) else {
            // Without a table the image is one file system.
            return self.open_part(&image, 0, 0, "(partition 0)", scratch);
        };
        let table: Value = serde_json::from_slice(&table.stdout).context("sfdisk --json")?;
        let table = &table["partitiontable"];
        self.inventory.fact("(disk)/label", shown(&table["label"]));
        self.inventory.fact("(disk)/boot code", boot_code(&image)?);
        let parts = table["partitions"].as_array().cloned().unwrap_or_default();
        for (index, part) in parts.iter().enumerate() {
            let name = format!("(partition {})", index + 1);
            for key in ["start", "size", "type", "name", "bootable", "attrs"] {
                self.inventory.fact(format!("{name}/{key}"), shown(&part[key]));
            }
            let sectors = |key: &str| part[key].as_u64().with_context(|| format!("{name}: no {key}"));
            if !["f", "5"].contains(&shown(&part["type"]).as_str()) {
                let (start, size) = (sectors("start")? * SECTOR, sectors("size")? * SECTOR);
                self.open_part(&image, start, size, &name, scratch)?;
            }
        }
        Ok(())
    }

    /// A file system's files, under the partition's name unless it is the root.
    fn open_part(&mut self, image: &File, start: u64, size: u64, name: &str, scratch: &Path) -> Result<()> {
        let device = LoopDevice::attach(image, start, size, 512, Access::ReadOnly)?;
        let kind = facts_of(device.path())?;
        let find = |wanted: &str| kind.iter().find(|(key, _)| key == wanted).map(|(_, value)| value.clone());
        for key in ["TYPE", "LABEL", "UUID"] {
            self.inventory.fact(format!("{name}/{key}"), find(key).unwrap_or_default());
        }
        let directory = scratch.join(name);
        fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
        let options = match find("TYPE").as_deref() {
            Some("ext2" | "ext3" | "ext4") => "ro,noload",
            Some("xfs") => "ro,norecovery,nouuid",
            Some("btrfs") => "ro",
            Some("vfat") => return self.open_vfat(device.path(), &directory, name),
            Some(_) => return Ok(()),
            None => {
                let content = File::open(device.path()).context("the partition")?;
                self.inventory.fact(format!("{name}/sha256"), of_file(&content, Algorithms::Sha256)?.sha256);
                return Ok(());
            }
        };
        let kind = find("TYPE").unwrap_or_default();
        if kind.starts_with("ext") {
            self.add_ext_facts(device.path(), name)?;
        }
        let mount = Mount::new(device.path(), &directory, &kind, options)?;
        let prefix = if directory.join("etc").is_dir() { "" } else { name };
        self.inventory.add_tree(&directory, prefix)?;
        self._mounted.push((mount, device));
        Ok(())
    }

    /// Not every kernel can mount it.
    fn open_vfat(&mut self, device: &Path, directory: &Path, name: &str) -> Result<()> {
        let args = ["-s", "-p", "-n", "-Q", "-i"].map(OsStr::new);
        let places = [device.as_os_str(), "::/".as_ref(), directory.as_os_str()];
        tool::run("mcopy", args.into_iter().chain(places))?;
        self.inventory.add_tree(directory, name)
    }

    fn add_ext_facts(&mut self, device: &Path, name: &str) -> Result<()> {
        let said = tool::run("dumpe2fs", ["-h".as_ref(), device.as_os_str()])?;
        for line in String::from_utf8_lossy(&said.stdout).lines() {
            if let Some((key, value)) = line.split_once(':').filter(|(key, _)| EXT_FACTS.contains(key)) {
                self.inventory.fact(format!("{name}/{key}"), value.trim());
            }
        }
        Ok(())
    }
}

/// What blkid knows; nothing of what it does not know.
fn facts_of(device: &Path) -> Result<Vec<(String, String)>> {
    let args = ["-p", "-o", "export"].map(OsStr::new);
    let Ok(said) = tool::run("blkid", args.into_iter().chain([device.as_os_str()])) else {
        return Ok(Vec::new());
    };
    let text = String::from_utf8(said.stdout).context("blkid")?;
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    Ok(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
}

/// Whether the first sector has a boot loader's code.
fn boot_code(image: &File) -> Result<String> {
    use std::os::unix::fs::FileExt;
    let mut code = [0; 440];
    image.read_exact_at(&mut code, 0).context("the first sector")?;
    let there = code.iter().any(|byte| *byte != 0);
    Ok(if there { "a boot loader" } else { "none" }.to_owned())
}

/// A value of JSON without quotes.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
