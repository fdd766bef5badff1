//! The plan: the resolved, ordered, printable list of steps. Nothing is decided after it. The engine executes exactly this;
//! `dibw plan` prints it; it is written beside every artifact.

use std::collections::{BTreeMap, BTreeSet};

use dibw_policy::Level;
use serde::{Deserialize, Serialize};

use crate::layout::Layout;
use crate::output::{OutputType, Qcow2Compression};
use crate::packages::PackageRequest;
use crate::phase::Phase;
use crate::request::Checksum;
use crate::rules::{Cages, Reach, Rules};

/// The whole of a build.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Version of this format.
    pub version: u32,
    /// Path prefix of the artifacts.
    pub output: String,
    /// Artifacts to make.
    pub types: BTreeSet<OutputType>,
    /// Checksums beside each artifact.
    pub checksums: BTreeSet<Checksum>,
    /// Replace artifacts of the same name.
    pub overwrite: bool,
    /// Target architecture.
    pub arch: String,
    /// Use caches only.
    pub offline: bool,
    /// Ignore what is cached.
    pub refresh: bool,
    /// Seconds since 1970 that stands for "now" in the image.
    pub source_date_epoch: u64,
    /// Asked for through one of diskimage-builder's commands: its conventions hold for what lies beside an artifact.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub classic: bool,
    /// A ramdisk: its elements leave kernel and initrd beside the artifacts, and the disk becomes no artifact.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ramdisk: bool,
    /// How a qcow2 is compressed.
    #[serde(default, skip_serializing_if = "Qcow2Compression::is_default")]
    pub qcow2_compression: Qcow2Compression,
    /// Options of the formats that qemu-img writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qemu_img_options: Option<String>,
    /// Program and arguments in place of our own gzip.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gzip: Vec<String>,
    /// Name and tag of container images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docker_target: Option<String>,
    /// Where the container image is pushed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<String>,
    /// Text of the manifest of an aci.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aci_manifest: Option<String>,
    /// The elements in dependency order.
    pub elements: Vec<PlannedElement>,
    /// What the policy settles beside the rights of components.
    pub rules: Rules,
    /// Variables for hooks, before any `environment.d`.
    pub variables: BTreeMap<String, String>,
    /// The disk, when an output type or a hook needs one.
    pub disk: Option<DiskPlan>,
    /// What is done, in order.
    pub steps: Vec<Step>,
}

/// An element as it takes part in the build.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PlannedElement {
    /// Name.
    pub name: String,
    /// Directory or component file.
    pub path: String,
    /// SHA-256 over its files.
    pub digest: String,
    /// The component and its digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<Component>,
    /// Package name map, parsed when its packages are asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pkg_map: Option<crate::packages::PackageMap>,
    /// Programs that its hooks need on the host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_tools: Vec<String>,
}

/// A component and how it is run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Component {
    /// The file.
    pub path: String,
    /// SHA-256, hexadecimal. The engine refuses other bytes.
    pub digest: String,
    /// The element's configuration: defaults, classic variables and settings merged, validated.
    pub config: serde_json::Value,
    /// What it may do: needs ∩ grant ∩ ceiling.
    pub effective: dibw_policy::Effective,
}

/// The disk to make.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DiskPlan {
    /// The layout.
    pub layout: Layout,
    /// Which file the layout came from.
    pub source: String,
    /// Its text, for the commands of elements.
    pub text: String,
    /// How the size of the image is found.
    pub size: crate::layout::SizeRules,
}

/// What confines a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confinement {
    /// A component: nothing but the capability interfaces.
    Wasm,
    /// The target's sandbox.
    Strict,
    /// Host file system read-only but for the build's directories, dangerous capabilities dropped.
    Confined,
    /// As root on the host, in private namespaces. Only by policy.
    Host,
    /// The runtime itself.
    Runtime,
}

impl Confinement {
    /// What a level of the policy means; none for what does not run.
    pub fn of_level(level: Level) -> Option<Self> {
        match level {
            Level::Deny => None,
            Level::Strict => Some(Self::Strict),
            Level::Confined => Some(Self::Confined),
            Level::Host => Some(Self::Host),
        }
    }
}

/// What a step has beyond its confinement, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Extra {
    /// The host's network.
    Network,
    /// A proxy to the origins of its cage, in a network of its own.
    Proxy,
    /// The image's own block devices.
    ImageDevices,
}

impl Extra {
    /// What shell hooks of a phase count on and may have: the network while software is fetched and outside, the image's devices for boot loaders.
    pub fn of_shell(phase: Phase, cages: &Cages, online: bool, disk: bool) -> BTreeSet<Self> {
        let network = match cages.reach() {
            Reach::Everything if online => Some(Self::Network),
            Reach::Origins if online => Some(Self::Proxy),
            Reach::Everything | Reach::Origins | Reach::Nothing => None,
        };
        let devices = (phase == Phase::Finalise && disk).then_some(Self::ImageDevices);
        network.into_iter().chain(devices).collect()
    }
}

/// One entry of the plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The phase it belongs to; none for steps between phases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Order within the phase, as in a hook's name.
    pub order: String,
    /// The element it is done for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub element: Option<String>,
    /// What is done.
    pub action: Action,
    /// What confines it.
    pub confinement: Confinement,
    /// What it has beyond that.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub extras: BTreeSet<Extra>,
    /// Capabilities in force, as text (`target.write /etc/motd`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// The rule of the policy that confines it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rule: String,
}

impl Step {
    /// The variables of a phase. In the root phase there is no target yet to evaluate them in, and outside phases see the host's paths. Files
    /// of all elements are evaluated together, so the cage is the tightest on either side.
    pub fn environment(phase: Phase, files: Vec<String>) -> Self {
        Self {
            phase: Some(phase),
            order: String::new(),
            element: None,
            action: Action::Environment { files },
            confinement: Confinement::Strict,
            extras: BTreeSet::new(),
            capabilities: Vec::new(),
            rule: String::new(),
        }
    }

    /// The name it is ordered by among the hooks of its phase; none for what comes after all of them.
    pub fn hook_name(&self) -> Option<String> {
        let rest = match &self.action {
            Action::Script { name } => return Some(name.clone()),
            Action::Hook => self.element.as_deref().unwrap_or_default(),
            Action::Packages { requests } if crate::packages::is_removal(requests) => "package-uninstalls",
            Action::Packages { .. } => "package-installs",
            Action::InstallBin => "install-bin",
            Action::InstallStatic => "install-static-files",
            Action::InstallServiceMap { .. } => "merge-svc-map-files",
            Action::Environment { .. }
            | Action::PrepareTarget
            | Action::ReportUsage { .. }
            | Action::CleanTarget
            | Action::CreateDisk
            | Action::FinishDisk
            | Action::PackageManifest
            | Action::Output { .. } => return None,
        };
        (!self.order.is_empty()).then(|| format!("{}-{rest}", self.order))
    }
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
pub enum Action {
    /// Evaluates `environment.d` for one phase into data.
    Environment {
        /// Names of the files in order, in the merged `environment.d`.
        files: Vec<String>,
    },
    /// Runs a hook script of the merged hooks tree.
    Script {
        /// File name in `<phase>.d`.
        name: String,
    },
    /// Runs the hook of a component.
    Hook,
    /// The phase's one package transaction. Names are mapped when the phase's variables are known.
    Packages {
        /// Who asks for what, in element order.
        requests: Vec<PackageRequest>,
    },
    /// Sees to it that the root phase made a root file system, and readies it for hooks: the host's resolver is lent to it.
    PrepareTarget,
    /// Copies the merged `bin/` to `/usr/local/bin`.
    InstallBin,
    /// Copies the merged `static/` over the target.
    InstallStatic,
    /// Writes the merged service map to `/usr/share/svc-map/services`.
    InstallServiceMap {
        /// Service maps by element; merged by the target's distribution.
        maps: BTreeMap<String, crate::packages::ServiceMap>,
    },
    /// Puts the build's own resolv.conf, log and /tmp changes right.
    CleanTarget,
    /// Tells how large the directories and files of the target are.
    ReportUsage {
        /// The smallest entry that is worth a line, in bytes.
        least: u64,
    },
    /// Makes image, table, file systems; copies the tree; mounts it for the last phases.
    CreateDisk,
    /// Unmounts, fills vfat file systems, checks, detaches.
    FinishDisk,
    /// Lists installed packages.
    PackageManifest,
    /// Writes one artifact.
    Output {
        /// Its type.
        #[serde(rename = "type")]
        kind: OutputType,
    },
}
