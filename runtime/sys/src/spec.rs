//! Owns what travels between `runner` and the process it starts (`entry`): one job one way, a few reports the other.
//! JSON lines over a socket pair that is the new process's standard input; the closing of that socket means "stop".
//! Must not do anything.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::confined::{Level, Network, View};
use crate::sandbox::Extras;

/// What the started process is for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Job {
    /// Make a user namespace, wait until it is mapped, forbid namespaces in it, and go.
    HoldUserNamespace,
    /// Run a command in the target.
    Inside(InsideJob),
    /// Run a command on the host's root.
    Outside(OutsideJob),
}

impl Job {
    /// Whether the command talks to the user directly.
    pub fn is_interactive(&self) -> bool {
        match self {
            Self::HoldUserNamespace => false,
            Self::Inside(job) => job.launch.interactive,
            Self::Outside(job) => job.launch.interactive,
        }
    }
}

/// The command itself.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Launch {
    pub argv: Vec<String>,
    /// All of it; nothing is inherited.
    pub env: BTreeMap<String, String>,
    /// Where it starts, in its own view.
    pub cwd: PathBuf,
    /// A `/proc/PID/fd/N` of the engine; none is `/dev/null`.
    pub stdin: Option<PathBuf>,
    /// Its outputs are those of dibw itself, not pipes of ours.
    pub interactive: bool,
    /// The `cgroup.procs` files of the groups it belongs to.
    pub groups: Vec<PathBuf>,
    /// Most processes of its user, where no group counts them.
    pub processes: Option<u64>,
    /// A `/proc/PID/fd/N` of the engine, for a JSON list of the [`crate::watch::Attempt`]s.
    pub account: PathBuf,
}

/// See [`Job::Inside`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct InsideJob {
    pub launch: Launch,
    /// A `/proc/PID/fd/N` of the engine.
    pub userns: PathBuf,
    /// The host's id of the namespace's root.
    pub id_base: u32,
    pub root: RootSpec,
    pub extras: Extras,
}

/// Where the target comes from.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum RootSpec {
    /// Mount this overlay, its options relative to `layers_dir`.
    Overlay { layers_dir: PathBuf, options: String, mount_point: PathBuf },
    /// A mounted tree, and what is mounted below it.
    Tree(PathBuf),
}

/// See [`Job::Outside`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct OutsideJob {
    pub launch: Launch,
    pub level: Level,
    pub network: Network,
    pub view: View,
    /// The mount namespace of the engine, as a `/proc/PID/ns/mnt`.
    pub engine_mounts: PathBuf,
}

/// What the started process says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The user namespace is there: map it.
    Ready,
    /// The command (or the job) ended; 128 + n was not applied yet.
    Exited(i32),
    /// A signal of this number killed the command.
    Signalled(i32),
    /// `execve` failed.
    CannotStart { errno: i32, exists: bool },
    /// The command left this mounted: where, and where it is kept.
    Kept { path: PathBuf, place: PathBuf },
    /// The set-up failed.
    Failed(String),
}
