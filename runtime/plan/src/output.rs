//! What an artifact can be: the types after `-t`, the suffix each file has, and how the disk formats are written.
//! Pure names. The planner checks requests against it; `tools` and the engine ask it how a type is made.

use serde::{Deserialize, Serialize};

/// What an artifact is. The order is that of a plan's heading; steps make disk formats in reverse, so raw last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names are the formats'")]
pub enum OutputType {
    Raw,
    Qcow2,
    Vhd,
    Vhdx,
    Vmdk,
    Vdi,
    Vpc,
    Qed,
    Qcow,
    Parallels,
    Tar,
    Tgz,
    TarZst,
    Aci,
    Docker,
    Oci,
    Squashfs,
}

/// How a disk format is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskWriter {
    /// As it is, holes kept.
    Copy,
    /// By our own qcow2 writer.
    Qcow2,
    /// By qemu-img.
    QemuImg {
        /// The name after `-O`.
        format: &'static str,
        /// The text after `-o`.
        options: Option<String>,
    },
}

/// How the guest's clusters are stored in a qcow2.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Qcow2Compression {
    /// deflate, which every reader of qcow2 understands.
    #[default]
    Zlib,
    /// zstd: written in half the time, read faster; for QEMU 5.1 and newer.
    Zstd,
    /// As they are, only zeros left out.
    None,
}

impl Qcow2Compression {
    /// Whether it is what everyone gets who does not ask.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A dynamic VHD whose size is that of the disk to the byte, not one rounded to a disk geometry: Hyper-V, Azure and XenServer
/// go by the size in the footer.
const VHD_OPTIONS: &str = "subformat=dynamic,force_size=on";

/// What `--qemu-img-options` may say of a qcow2 that our own writer makes anyway: version 3.
const OWN_QCOW2: [&str; 2] = ["compat=1.1", "compat=v3"];

impl OutputType {
    /// All types.
    pub const ALL: [Self; 17] = [
        Self::Raw,
        Self::Qcow2,
        Self::Vhd,
        Self::Vhdx,
        Self::Vmdk,
        Self::Vdi,
        Self::Vpc,
        Self::Qed,
        Self::Qcow,
        Self::Parallels,
        Self::Tar,
        Self::Tgz,
        Self::TarZst,
        Self::Aci,
        Self::Docker,
        Self::Oci,
        Self::Squashfs,
    ];

    /// The name after `-t`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vhd => "vhd",
            Self::Vhdx => "vhdx",
            Self::Vmdk => "vmdk",
            Self::Vdi => "vdi",
            Self::Vpc => "vpc",
            Self::Qed => "qed",
            Self::Qcow => "qcow",
            Self::Parallels => "parallels",
            Self::Tar => "tar",
            Self::Tgz => "tgz",
            Self::TarZst => "tar.zst",
            Self::Aci => "aci",
            Self::Docker => "docker",
            Self::Oci => "oci",
            Self::Squashfs => "squashfs",
        }
    }

    /// The suffix of the file: the name, but for one that diskimage-builder shortens.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Squashfs => "squash",
            other => other.name(),
        }
    }

    /// Whether it is made from a disk image (and not from the tree).
    pub fn is_disk(self) -> bool {
        self.disk_writer(None).is_some()
    }

    /// How it is written with these `--qemu-img-options`, if it is a disk format.
    pub fn disk_writer(self, options: Option<&str>) -> Option<DiskWriter> {
        let options = options.map(str::trim).filter(|options| !options.is_empty());
        let qemu_img = |format, options: Option<&str>| DiskWriter::QemuImg {
            format,
            options: options.map(str::to_owned),
        };
        Some(match self {
            Self::Raw => DiskWriter::Copy,
            Self::Qcow2 if options.is_none_or(own_qcow2) => DiskWriter::Qcow2,
            // diskimage-builder makes it with another program, which takes no such options.
            Self::Vhd => qemu_img("vpc", Some(VHD_OPTIONS)),
            Self::Qcow2
            | Self::Vhdx
            | Self::Vmdk
            | Self::Vdi
            | Self::Vpc
            | Self::Qed
            | Self::Qcow
            | Self::Parallels => qemu_img(self.name(), options),
            Self::Tar | Self::Tgz | Self::TarZst | Self::Aci | Self::Docker | Self::Oci | Self::Squashfs => {
                return None;
            }
        })
    }

    /// Whether diskimage-builder writes over a file of the same name, where it renames those of the other types.
    pub fn replaces_classically(self) -> bool {
        matches!(self, Self::Tar | Self::Aci | Self::Docker | Self::Squashfs)
    }
}

/// Whether all of the options are what our own writer does.
fn own_qcow2(options: &str) -> bool {
    options.split(',').all(|option| OWN_QCOW2.contains(&option.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_and_names_are_unique() {
        for of in [OutputType::name, OutputType::suffix] {
            let mut all: Vec<_> = OutputType::ALL.into_iter().map(of).collect();
            all.sort_unstable();
            all.dedup();
            assert_eq!(all.len(), OutputType::ALL.len());
        }
    }

    #[test]
    fn qcow2_goes_to_qemu_img_only_for_what_our_writer_does_not_do() {
        let qemu_img =
            |options: &str| Some(DiskWriter::QemuImg { format: "qcow2", options: Some(options.to_owned()) });
        for (options, expected) in [
            (None, Some(DiskWriter::Qcow2)),
            (Some(""), Some(DiskWriter::Qcow2)),
            (Some("compat=1.1"), Some(DiskWriter::Qcow2)),
            (Some("compat=v3"), Some(DiskWriter::Qcow2)),
            (Some("compat=0.10"), qemu_img("compat=0.10")),
            (Some("compat=1.1,cluster_size=2M"), qemu_img("compat=1.1,cluster_size=2M")),
        ] {
            assert_eq!(OutputType::Qcow2.disk_writer(options), expected, "{options:?}");
        }
        assert_eq!(OutputType::Raw.disk_writer(Some("compat=0.10")), Some(DiskWriter::Copy));
    }
}
