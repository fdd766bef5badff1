//! Owns the description of a command that runs on the host's own root (classic host-side hooks), caged or not.
//! Must not start anything: `runner` does, and `outside_root` and `privileges` make it real.
//! Written by the engine.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::limits::Limits;
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
    /// Standard input. Of an interactive command it is ours, as are its outputs.
    pub stdin: Input,
    /// Time limit; it and all it started are killed then.
    pub timeout: Option<Duration>,
    /// How it is caged.
    pub level: Level,
    /// What it sees of the machine beyond the bare cage.
    pub view: View,
    /// The network it has.
    pub network: Network,
    /// What it and all it starts may use; [`Limits::disk`] is not enforced here.
    pub limits: Limits,
}

/// What a command on the host's own root may write to, and what is mounted for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// The directories it may write to, with all that is mounted below them. Ignored at [`Level::Host`].
    pub writable: Vec<PathBuf>,
    /// Directories it must see although they lie below `/tmp` or `/run`, which are private; read-only.
    pub readable: Vec<PathBuf>,
    /// Its `/tmp`: the host's, while what it writes lands elsewhere. Without it `/tmp` is empty and private. Ignored at [`Level::Host`].
    pub tmp: Option<Captured>,
    /// Directories it sees and seems to write to, while what it writes lands elsewhere.
    pub captured: Vec<Captured>,
    /// What is mounted in the root file system that it works on.
    pub target: Option<TargetView>,
}

/// The root file system that a command works on, and what is mounted in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetView {
    /// Where it is mounted.
    pub root: PathBuf,
    /// It gets `/proc`, `/dev` and, read-only, `/sys`, so that `chroot` into it works.
    pub furnished: bool,
    /// What is at the first path is seen at the second, which is a path of the target.
    pub binds: Vec<(PathBuf, String)>,
    /// An existing directory for mounts that the command leaves in the target: the caller's mount namespace has them there from then on,
    /// as `0`, `1` ... Kernel file systems are not kept.
    pub keep: Option<PathBuf>,
}

/// A directory whose changes land elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Captured {
    /// The directory.
    pub path: PathBuf,
    /// An existing directory for what is written, on a file system that can hold overlay layers.
    pub upper: PathBuf,
    /// An existing empty directory beside it, for the kernel.
    pub work: PathBuf,
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
