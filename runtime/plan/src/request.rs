//! What the user asked for: arguments, environment and files, nothing resolved. The command line makes it; the planner reads it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::output::Qcow2Compression;

/// A checksum to write beside each artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Checksum {
    /// SHA-256.
    Sha256,
    /// MD5, on request (Nodepool reads it).
    Md5,
}

impl Checksum {
    /// Those that a `DIB_CHECKSUM` asks for: `1` is all, otherwise the names in it.
    pub fn named_in(text: &str) -> BTreeSet<Self> {
        let named = [("md5", Self::Md5), ("sha256", Self::Sha256)];
        let asked = named.into_iter().filter(|(name, _)| text == "1" || text.contains(name));
        asked.map(|(_, checksum)| checksum).collect()
    }
}

/// Whether every build hears of that variable of its caller: settings of elements, of the network, and break points.
pub fn is_for_builds(name: &str) -> bool {
    const PREFIXES: [&str; 2] = ["DIB_", "NODEPOOL_"];
    const NAMES: [&str; 10] = [
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "NO_PROXY",
        "TZ",
        "break",
        "break_cmd",
        "break_outside_target",
        "http_proxy",
        "https_proxy",
        "no_proxy",
    ];
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// One image to build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Element names, in the order given. A directory or `.wasm` argument is registered in the catalogue first and named here.
    pub elements: Vec<String>,
    /// Path prefix of the artifacts.
    pub output: String,
    /// Output types as spelled by the user.
    pub types: Vec<String>,
    /// Target architecture, Debian's spelling.
    pub arch: String,
    /// Extra packages (`-p`).
    pub packages: Vec<String>,
    /// Leave out the `base` element (`-n`).
    pub skip_base: bool,
    /// Image size in bytes; none means from the size of the tree.
    pub image_size: Option<u64>,
    /// Room to leave beside the tree, in bytes, in place of the default share.
    pub image_extra_size: Option<u64>,
    /// `element -> key -> value` from `--set` and the image file.
    pub settings: BTreeMap<String, BTreeMap<String, serde_json::Value>>,
    /// The variables of the caller that hooks may see.
    pub variables: BTreeMap<String, String>,
    /// Block device configuration given by the user: the text and the name it is known by in messages.
    pub block_device: Option<NamedText>,
    /// Type of a root file system whose configuration gives none.
    pub fs_type: String,
    /// Label of the root file system; none means the default for its type.
    pub root_label: Option<String>,
    /// Extra options for mkfs of the root file system.
    pub mkfs_options: String,
    /// ext4 journal size in MiB.
    pub journal_mib: u64,
    /// Checksums to write beside each artifact.
    pub checksums: BTreeSet<Checksum>,
    /// Replace an artifact of the same name instead of renaming it.
    pub overwrite: bool,
    /// Use caches only.
    pub offline: bool,
    /// Ignore what is cached.
    pub refresh: bool,
    /// Seconds since 1970 that stands for "now" in the image.
    pub source_date_epoch: u64,
    /// From which UUIDs and disk identifiers are derived.
    pub seed: String,
    /// Asked for through one of diskimage-builder's commands: its conventions hold for what lies beside an artifact, and
    /// there is always a disk.
    pub classic: bool,
    /// A ramdisk is to be made: the disk becomes no artifact.
    pub ramdisk: bool,
    /// How a qcow2 is compressed.
    pub qcow2_compression: Qcow2Compression,
    /// What qemu-img is given after `-o`.
    pub qemu_img_options: Option<String>,
    /// Name, with or without tag, of a container image.
    pub docker_target: Option<String>,
    /// Registry, name and tag that the container image is pushed to.
    pub push: Option<String>,
    /// The file named by `ACI_MANIFEST`.
    pub aci_manifest: Option<NamedText>,
}

/// A text and where it came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedText {
    /// Path or option name, for messages.
    pub name: String,
    /// The text.
    pub text: String,
}
