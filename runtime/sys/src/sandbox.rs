//! Owns the description of a command that runs in the target under `strict` confinement, and of what it gets beyond that.
//! Must not start anything: `runner` does, and `inside_root`, `privileges` and `launch` make it real.
//! Written by the engine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use crate::confined::Network;
use crate::limits::Limits;
use crate::overlay::LayerView;

/// What is fed to a command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Input {
    /// `/dev/null`.
    #[default]
    Null,
    /// These bytes.
    Bytes(Vec<u8>),
    /// Whatever dibw itself has as standard input; output goes where dibw's goes.
    Terminal,
}

/// A command for the target.
#[derive(Clone, Debug)]
pub struct SandboxCommand {
    /// Program and arguments; a program without `/` is looked for on the `PATH` of `env`, inside the target.
    pub argv: Vec<String>,
    /// Its whole environment.
    pub env: BTreeMap<String, String>,
    /// Directory it starts in, in the target.
    pub cwd: PathBuf,
    /// Standard input.
    pub stdin: Input,
    /// Time limit; it and all it started are killed then.
    pub timeout: Option<Duration>,
    /// What it gets beyond the bare sandbox.
    pub extras: Extras,
    /// What it and all it starts may use.
    pub limits: Limits,
}

/// What a sandboxed command gets by name; nothing by default.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Extras {
    /// `Host` shares the host's network.
    pub network: Network,
    /// Whether `/sys` is there.
    pub sysfs: Sysfs,
    /// Device nodes in the sandbox's `/dev`.
    pub devices: Vec<DeviceNode>,
    /// Host directories or files to be seen in the target.
    pub binds: Vec<Bind>,
    /// It runs outside the target: it sees the machine, and the target where that is mounted.
    pub host: Option<HostView>,
    /// A network namespace to be in, in place of an empty one; see [`crate::network::NetworkNamespace::proc_path`].
    pub netns: Option<PathBuf>,
}

/// What a `strict` command outside the target sees of the machine, beyond what everybody may read there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostView {
    /// Directories that are empty for it, beside `/tmp`, `/run`, `/home`, `/root` and `/sys`.
    pub hidden: Vec<PathBuf>,
    /// What it sees, root's files as root's: what is at the first path is seen at the second.
    pub readable: Vec<(PathBuf, PathBuf)>,
    /// What it may write to, likewise.
    pub writable: Vec<(PathBuf, PathBuf)>,
}

/// Whether a sandboxed command sees `/sys`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sysfs {
    /// `/sys` is what the target has there: an empty directory.
    #[default]
    Absent,
    /// Read-only. It shows the host's devices, so what a command does may depend on the host.
    ReadOnly,
}

/// A node in `/dev`, owned by root of the sandbox, for a device of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceNode {
    /// The host's node, such as `/dev/loop5`.
    pub host: PathBuf,
    /// Its name in the sandbox's `/dev`, one component.
    pub name: String,
}

/// Something of the host that is seen in the target. `nosuid` and `nodev` always.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// A directory or file of the host.
    pub source: PathBuf,
    /// Absolute path in the target; a missing last component is made for the run and removed after it.
    pub dest: PathBuf,
    /// May the command write?
    pub access: BindAccess,
    /// Whose the files appear to be.
    pub owners: BindOwners,
}

/// Whether a bind may be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BindAccess {
    /// Reading only.
    ReadOnly,
    /// Reading and writing.
    ReadWrite,
}

/// Whose the files of a bind appear to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BindOwners {
    /// Root's files are root's inside: an idmapped mount, which the file system must support.
    Mapped,
    /// `Mapped` where the file system supports it, else `Foreign`.
    MappedIfPossible,
    /// Root's files are `nobody`'s inside: readable as their mode allows others.
    Foreign,
}

/// The root file system a command runs in.
#[derive(Debug)]
pub enum TargetSource<'a> {
    /// The layers of a [`crate::overlay::TargetTree`], from its `sandbox_root`.
    Layers(LayerView<'a>),
    /// A mounted tree with whatever is mounted below it (finalise).
    Tree(&'a Path),
}
