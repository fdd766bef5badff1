//! What a file system or a physical volume is made on. Called by the other modules of `layout` and by the engine.

use std::collections::BTreeMap;
use std::fmt;

use dibw_policy::yaml::Spot;
use serde::{Deserialize, Serialize};

use super::graph::{GraphNode, NodeKind};
use super::source::Source;

/// A block device of the build.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Device {
    /// A whole image.
    Image {
        /// Its name.
        image: String,
    },
    /// A partition.
    Partition {
        /// The image's name.
        image: String,
        /// The partition's name.
        partition: String,
        /// Its number.
        number: u32,
    },
    /// A logical volume.
    LogicalVolume {
        /// The volume group.
        group: String,
        /// The volume.
        volume: String,
    },
}

impl Device {
    /// The name of the node.
    pub fn name(&self) -> &str {
        match self {
            Self::Image { image } => image,
            Self::Partition { partition, .. } => partition,
            Self::LogicalVolume { volume, .. } => volume,
        }
    }

    /// The name device-mapper gives a logical volume: dashes inside the names are doubled (lvm(8)).
    pub fn mapper_name(&self) -> Option<String> {
        match self {
            Self::LogicalVolume { group, volume } => {
                Some(format!("{}-{}", group.replace('-', "--"), volume.replace('-', "--")))
            }
            Self::Image { .. } | Self::Partition { .. } => None,
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// All devices and the kind of every node, by name.
#[derive(Debug, Default)]
pub(super) struct Devices {
    devices: BTreeMap<String, Device>,
    kinds: BTreeMap<String, NodeKind>,
}

impl Devices {
    pub(super) fn new(nodes: &[GraphNode]) -> Self {
        let kinds = nodes.iter().map(|node| (node.name.clone(), node.kind)).collect();
        Self { devices: BTreeMap::new(), kinds }
    }

    pub(super) fn insert(&mut self, device: Device) {
        self.devices.insert(device.name().to_owned(), device);
    }

    /// The device that is the base of `user`. A fault when the base is something else; nothing when it does not exist, for the graph
    /// has said so.
    pub(super) fn resolve(
        &self,
        base: &str,
        user: &str,
        spot: Spot,
        source: &mut Source<'_>,
    ) -> Option<Device> {
        if let Some(device) = self.devices.get(base) {
            return Some(device.clone());
        }
        if let Some(kind) = self.kind(base) {
            source.fault(spot, format!("{user} needs a block device as base: [{base}] is {}", kind.words()));
        }
        None
    }

    pub(super) fn kind(&self, name: &str) -> Option<NodeKind> {
        self.kinds.get(name).copied()
    }
}
