//! The ten phases, their order and their side. Facts: compat/CONTRACT.md section 1.3.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// On the build host, with the target mounted.
    Outside,
    /// In the target's sandbox.
    Inside,
}

/// One of the ten phases, in the order they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names are the field's own and explained in docs/elements.md")]
pub enum Phase {
    Root,
    ExtraData,
    PreInstall,
    Install,
    PostInstall,
    PostRoot,
    BlockDevice,
    PreFinalise,
    Finalise,
    Cleanup,
}

impl Phase {
    /// All phases in running order.
    pub const ALL: [Self; 10] = [
        Self::Root,
        Self::ExtraData,
        Self::PreInstall,
        Self::Install,
        Self::PostInstall,
        Self::PostRoot,
        Self::BlockDevice,
        Self::PreFinalise,
        Self::Finalise,
        Self::Cleanup,
    ];

    /// The name as in `extra-data`; the directory of its hooks is `<name>.d`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::ExtraData => "extra-data",
            Self::PreInstall => "pre-install",
            Self::Install => "install",
            Self::PostInstall => "post-install",
            Self::PostRoot => "post-root",
            Self::BlockDevice => "block-device",
            Self::PreFinalise => "pre-finalise",
            Self::Finalise => "finalise",
            Self::Cleanup => "cleanup",
        }
    }

    /// The phase of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.name() == name)
    }

    /// Where the classic hooks of this phase run.
    pub fn side(self) -> Side {
        match self {
            Self::PreInstall | Self::Install | Self::PostInstall | Self::Finalise => Side::Inside,
            Self::Root
            | Self::ExtraData
            | Self::PostRoot
            | Self::BlockDevice
            | Self::PreFinalise
            | Self::Cleanup => Side::Outside,
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
