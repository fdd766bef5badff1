//! Owns the description of a command that runs on the host's own root (classic host-side hooks), caged or not.
//! Must not start anything: `runner` does, and `outside_root` and `privileges` make it real.
//! Written by the engine.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::sandbox::Input;

/// A command for the host's own root, in private mount, pid, ipc and uts namespaces.
#[derive(Clone, Debug)]
pub struct ConfinedCommand {
    /// Program and arguments; a program without `/` is looked for on the `PATH` of `env`.
    pub argv: Vec<String>,
    /// Its whole environment.
    pub env: BTreeMap<String, String>,
    /// Directory it starts in.
    pub cwd: PathBuf,
    /// Standard input.
    pub stdin: Input,
    /// Time limit; it and all it started are killed then.
    pub timeout: Option<Duration>,
    /// How it is caged.
    pub level: Level,
    /// The directories it may write to, with all that is mounted below them. Ignored at [`Level::Host`].
    pub writable: Vec<PathBuf>,
    /// Directories it must see although they lie below `/tmp` or `/run`, which are private; read-only.
    pub readable: Vec<PathBuf>,
    /// The network it has.
    pub network: Network,
}

/// How a command on the host's root is caged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Level {
    /// Host file system read-only but for `writable`, private `/tmp` and `/run`, own `/dev`, fewer capabilities, no-new-privs.
    /// It keeps `CAP_SYS_ADMIN` and `CAP_MKNOD` (bootstrap tools mount and make nodes), so it stops accidents and casual
    /// hostility, not a determined root.
    Confined,
    /// Real root. Its namespaces only see to it that nothing is left behind.
    Host,
}

/// The network a command has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// A namespace of its own with nothing but `lo`.
    #[default]
    None,
    /// The host's.
    Host,
}
