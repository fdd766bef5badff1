//! What a report says, as data: the JSON that is embedded in the page and that its tables are made from. Knows nothing of how it is found
//! out or shown.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::events::{Cached, Level, seconds};

/// Version of this format.
pub const VERSION: u32 = 1;

/// A build that ended well.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// [`VERSION`].
    pub version: u32,
    /// Version of the program.
    pub dibw: String,
    /// File name of the artifacts without what comes after the dot.
    pub name: String,
    /// Digest of the plan.
    pub plan: String,
    /// Architecture of the image.
    pub arch: String,
    /// Elements in dependency order.
    pub elements: Vec<String>,
    /// When the build began, as `2026-11-21T18:30:09Z`.
    pub began: String,
    /// From the beginning to the report.
    #[serde(with = "seconds")]
    pub took: Duration,
    /// In the order they ran.
    pub steps: Vec<StepRecord>,
    /// Outputs.
    pub artifacts: Vec<ArtifactRecord>,
    /// Where the bytes of the image are, if that could be found out.
    pub bytes: Option<Bytes>,
    /// Installed packages.
    pub packages: Vec<PackageRecord>,
    /// Packages beyond those that are listed.
    pub more_packages: usize,
    /// What elements asked for, by element and capability.
    pub capabilities: Vec<CapabilityRecord>,
    /// Warnings and errors.
    pub warnings: Vec<Warning>,
    /// Warnings beyond those that are kept.
    pub more_warnings: usize,
}

impl Report {
    /// Seconds that steps took when the layers were made that stood in for them, less what it took to use these.
    pub fn saved(&self) -> Duration {
        saved(&self.steps)
    }
}

/// What cached layers saved in all.
pub fn saved(steps: &[StepRecord]) -> Duration {
    steps.iter().map(StepRecord::saved).sum()
}

/// A step that was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StepRecord {
    /// From 1.
    pub number: usize,
    /// Phase, or empty between phases.
    pub phase: String,
    /// The element it was done for, or empty.
    pub element: String,
    /// What was done.
    pub title: String,
    /// When it began, counted from the beginning of the build.
    #[serde(with = "seconds")]
    pub start: Duration,
    /// How long it took.
    #[serde(with = "seconds")]
    pub took: Duration,
    /// What the layer cache said of it.
    pub cache: Cached,
}

impl StepRecord {
    /// What a cached layer saved.
    pub fn saved(&self) -> Duration {
        match self.cache {
            Cached::Hit { saved } => saved.saturating_sub(self.took),
            Cached::No | Cached::Miss { .. } => Duration::ZERO,
        }
    }
}

/// A warning or an error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Warning {
    /// How much it matters.
    pub level: Level,
    /// The element that said it, or empty.
    pub element: String,
    /// Number of the step, or 0 outside of steps.
    pub step: usize,
    /// One line.
    pub text: String,
}

/// An output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArtifactRecord {
    /// File name.
    pub name: String,
    /// Length.
    pub bytes: u64,
    /// SHA-256, hexadecimal, where it was taken.
    pub sha256: Option<String>,
}

/// An installed package.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PackageRecord {
    /// Architecture.
    pub architecture: String,
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
}

/// What one element did by one capability.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CapabilityRecord {
    /// The element; empty for the runtime.
    pub element: String,
    /// The capability.
    pub capability: String,
    /// How often it was allowed.
    pub allowed: usize,
    /// How often it was refused, or would have been by a policy in audit mode.
    pub denied: usize,
    /// The first few different things it was asked for.
    pub subjects: Vec<String>,
    /// Whether it was asked for more than these.
    pub more_subjects: bool,
}

/// Where the bytes of the image are: the same bytes, summed in three ways.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Bytes {
    /// Allocated bytes of all file systems.
    pub total: u64,
    /// Files, directories and others; hard links once.
    pub inodes: u64,
    /// By directory.
    pub tree: Node,
    /// By package, largest first.
    pub packages: Vec<Node>,
    /// By element, largest first, and in each by package.
    pub elements: Vec<Node>,
}

/// A file, a directory with what is in it, a package, or an element with its packages; what is known instead is in parentheses.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Its name, as far as it can be shown.
    #[serde(rename = "n")]
    pub name: String,
    /// Allocated bytes.
    #[serde(rename = "b")]
    pub bytes: u64,
    /// What is in it, largest first; less in sum than its bytes where something is too small to be told apart.
    #[serde(rename = "c", default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Node>,
}
