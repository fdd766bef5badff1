//! File systems (`mkfs`), where they are mounted (`mount`) and what the image's fstab says (`fstab`): reading and rules.
//! Knows nothing of devices. Called by `layout::parse`.

use dibw_policy::yaml::Spot;
use serde::{Deserialize, Serialize};

use super::device::Device;
use super::flatten::FlatNode;
use super::identity::derive_uuid;
use super::source::Source;
use crate::fault::Place;
use crate::size::MIB;

/// Types whose UUID mkfs can set.
const TYPES_WITH_UUID: [&str; 6] = ["ext2", "ext3", "ext4", "xfs", "btrfs", "swap"];

/// A file system or swap space to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filesystem {
    /// The node's name.
    pub name: String,
    /// What it is made on.
    pub device: Device,
    /// As `mkfs -t` takes it: `ext4`, `xfs`, `btrfs`, `vfat`, `swap`, ...
    pub fstype: String,
    /// Its label, never longer than its type allows; upper case for vfat.
    pub label: String,
    /// Its UUID: configured, or derived from the seed. A vfat has only 32 bits of it, if any.
    pub uuid: String,
    /// Further arguments of mkfs, before the label. Empty for swap.
    pub opts: Vec<String>,
    /// Where it is configured.
    pub place: Place,
}

impl Filesystem {
    /// Swap is made by mkswap, and never mounted.
    pub fn is_swap(&self) -> bool {
        self.fstype == "swap"
    }

    /// Bytes that mkfs needs at least, as far as it is noticeable: xfsprogs 5.19, btrfs-progs 5.16; e2fsprogs 1.47 refuses a journal
    /// of more than half of the file system.
    pub fn least_size(&self) -> u64 {
        match self.fstype.as_str() {
            "ext3" | "ext4" => {
                let sizes = self.opts.iter().filter_map(|option| option.strip_prefix("size="));
                sizes.filter_map(|mib| mib.parse::<u64>().ok()).max().unwrap_or(0).saturating_mul(2 * MIB)
            }
            "xfs" => 300 * MIB,
            "btrfs" => 128 * MIB,
            _ => 0,
        }
    }
}

/// A place in the target where a file system belongs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// The node's name.
    pub name: String,
    /// The name of the file system.
    pub filesystem: String,
    /// Absolute path in the target, or `none` for swap, which is not mounted.
    pub mount_point: String,
    /// Its position in the configuration; mounts themselves are kept sorted by path.
    pub position: usize,
}

/// A line of the image's fstab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FstabEntry {
    /// The node's name.
    pub name: String,
    /// The name of the mount.
    pub mount: String,
    /// The label of the file system.
    pub label: String,
    /// Absolute path, or `none`.
    pub mount_point: String,
    /// The type of the file system.
    pub fstype: String,
    /// Mount options.
    pub options: String,
    /// Fifth field.
    pub dump_freq: u32,
    /// Sixth field.
    pub fsck_passno: u32,
}

impl FstabEntry {
    /// The line, without its end. White space inside a field is written as fstab(5) wants it.
    pub fn line(&self) -> String {
        format!(
            "LABEL={} {} {} {} {} {}",
            escape(&self.label),
            escape(&self.mount_point),
            self.fstype,
            escape(&self.options),
            self.dump_freq,
            self.fsck_passno
        )
    }
}

/// Octal escapes, see fstab(5).
fn escape(field: &str) -> String {
    field.replace('\\', "\\134").replace(' ', "\\040").replace('\t', "\\011").replace('\n', "\\012")
}

/// A `mkfs` whose device is not known yet.
#[derive(Debug)]
pub(super) struct FilesystemDraft {
    pub(super) name: String,
    pub(super) base: String,
    pub(super) fstype: String,
    pub(super) label: String,
    uuid: String,
    opts: Vec<String>,
    pub(super) spot: Spot,
    pub(super) label_spot: Spot,
}

impl FilesystemDraft {
    pub(super) fn on(self, device: Device, source: &Source<'_>) -> Filesystem {
        let Self { name, fstype, label, uuid, opts, spot, .. } = self;
        Filesystem { name, device, fstype, label, uuid, opts, place: source.place(spot) }
    }
}

/// A `mount` whose file system is not known yet.
#[derive(Debug)]
pub(super) struct MountDraft {
    pub(super) name: String,
    pub(super) base: String,
    pub(super) mount_point: String,
    pub(super) position: usize,
    pub(super) spot: Spot,
}

/// An `fstab` whose mount is not known yet.
#[derive(Debug)]
pub(super) struct FstabDraft {
    pub(super) name: String,
    pub(super) base: String,
    pub(super) options: String,
    pub(super) dump_freq: u32,
    pub(super) fsck_passno: u32,
    pub(super) spot: Spot,
}

pub(super) fn read_filesystem(
    node: &FlatNode,
    seed: &[u8],
    source: &mut Source<'_>,
) -> Option<FilesystemDraft> {
    let fields = node.fields();
    source.expect_keys(fields, &["name", "base", "type", "label", "opts", "uuid"]);
    let base = source.required(fields, "base", "Mkfs config needs [base]");
    let fstype = source.required(fields, "type", "Mkfs config needs [type]");
    let name = source.text(fields, "name")?;
    let fstype = fstype?;
    if fstype.is_empty() || !fstype.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    {
        source.fault(fields.spot_of("type"), format!("[{fstype}] is no type of a file system"));
        return None;
    }
    let mut label = source.text(fields, "label").unwrap_or_else(|| name.clone());
    if matches!(fstype.as_str(), "vfat" | "fat") {
        label = label.to_uppercase();
    }
    let label_spot = fields.spot_of("label");
    match longest_label(&fstype) {
        Some(longest) if label.len() > longest => source.fault_with_hint(
            label_spot,
            format!("Label [{label}] too long for filesystem [{fstype}]: {} > {longest}", label.len()),
            "set a shorter `label:`",
        ),
        Some(_) => {}
        None => source
            .warn(label_spot, format_args!("the longest label of a [{fstype}] file system is not known")),
    }
    if label.contains(['\0', '\n', '/']) || label.starts_with('-') {
        source.fault(label_spot, format!("the label [{}] can't be used in an fstab", label.escape_debug()));
    }
    let configured = source.text(fields, "uuid");
    if configured.is_some() && !TYPES_WITH_UUID.contains(&fstype.as_str()) {
        source
            .warn(fields.spot_of("uuid"), format_args!("the UUID of a [{fstype}] file system can't be set"));
    }
    let uuid = configured.unwrap_or_else(|| derive_uuid(seed, &format!("filesystem {name}")));
    let opts = source.text(fields, "opts").unwrap_or_default();
    // Any white space separates: diskimage-builder made an empty argument of a second blank.
    let opts =
        if fstype == "swap" { Vec::new() } else { opts.split_whitespace().map(str::to_owned).collect() };
    Some(FilesystemDraft { name, base: base?, fstype, label, uuid, opts, spot: node.spot, label_spot })
}

/// In bytes. Sources: mke2fs(8), mkfs.xfs(8), mkfs.fat(8), mkswap(8), mkfs.btrfs(8).
fn longest_label(fstype: &str) -> Option<usize> {
    match fstype {
        "ext2" | "ext3" | "ext4" | "swap" => Some(16),
        "xfs" => Some(12),
        "vfat" | "fat" => Some(11),
        "btrfs" => Some(255),
        _ => None,
    }
}

pub(super) fn read_mount(node: &FlatNode, position: usize, source: &mut Source<'_>) -> Option<MountDraft> {
    let fields = node.fields();
    source.expect_keys(fields, &["name", "base", "mount_point"]);
    let base = source.required(fields, "base", "MountPoint config needs [base]");
    let mount_point = source.required(fields, "mount_point", "MountPoint config needs [mount_point]");
    let name = source.text(fields, "name")?;
    let spot = fields.spot_of("mount_point");
    Some(MountDraft { name, base: base?, mount_point: mount_point?, position, spot })
}

pub(super) fn read_fstab(node: &FlatNode, source: &mut Source<'_>) -> Option<FstabDraft> {
    let fields = node.fields();
    source.expect_keys(fields, &["name", "base", "options", "dump-freq", "fsck-passno"]);
    let base = source.required(fields, "base", "Fstab config needs [base]");
    let options = source.text(fields, "options").unwrap_or_else(|| String::from("defaults"));
    let dump_freq = source.number(fields, "dump-freq").unwrap_or(0);
    let fsck_passno = source.number(fields, "fsck-passno").unwrap_or(2);
    let name = source.text(fields, "name")?;
    Some(FstabDraft { name, base: base?, options, dump_freq, fsck_passno, spot: node.spot })
}

/// Whether a file system can be mounted there: an absolute path without detours.
pub(super) fn is_mount_point(path: &str) -> bool {
    path == "/"
        || path.strip_prefix('/').is_some_and(|rest| {
            let rest = rest.strip_suffix('/').unwrap_or(rest);
            !path.contains(['\0', '\n']) && rest.split('/').all(|part| !matches!(part, "" | "." | ".."))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_plain_absolute_paths() {
        for path in ["/", "/boot", "/boot/efi", "/boot/", "/with space"] {
            assert!(is_mount_point(path), "{path}");
        }
        for path in ["", "none", "boot", "//", "/a//b", "/a/../b", "/..", "/./a", "/a\n/b"] {
            assert!(!is_mount_point(path), "{path}");
        }
    }

    #[test]
    fn fstab_fields_are_escaped() {
        let entry = FstabEntry {
            name: String::from("f"),
            mount: String::from("m"),
            label: String::from("Root Part"),
            mount_point: String::from("/a b"),
            fstype: String::from("ext4"),
            options: String::from("defaults"),
            dump_freq: 0,
            fsck_passno: 1,
        };
        assert_eq!(entry.line(), r"LABEL=Root\040Part /a\040b ext4 defaults 0 1");
    }
}
