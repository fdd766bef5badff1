//! The seam between the engine and the machine: everything privileged that a build needs, one method each.
//! [`crate::real::RealMachine`] does it with `dibw-sys`; tests pass a double that records and fails where told.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use dibw_plan::plan::Confinement;
use dibw_sys::limits::Exceeded;
use dibw_sys::observed::Reads;
use dibw_sys::watch::Attempt;

pub use crate::disks::{Disks, FileSystem, Volume};
pub use crate::downloads::Downloads;

/// Which of its two streams a command wrote a line to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the usual two")]
pub enum Stream {
    Stdout,
    Stderr,
}

/// Takes a line as it is written.
pub type OnLine<'a> = dyn FnMut(Stream, &str) + 'a;

/// Takes output exactly as it is written, piece by piece.
pub type OnBytes<'a> = dyn FnMut(Stream, &[u8]) + 'a;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With this status.
    Exited(i32),
    /// By this signal.
    Signalled(i32),
    /// It took longer than it may.
    TimedOut,
    /// The build was told to stop.
    Interrupted,
    /// It wanted more than it may have.
    Exceeded(Exceeded),
}

/// A command that runs in the target's sandbox.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inside {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// All its variables; nothing is inherited.
    pub env: BTreeMap<String, String>,
    /// What it reads.
    pub stdin: Vec<u8>,
    /// It talks to the user: its input and outputs are ours.
    pub interactive: bool,
    /// It is killed when it takes longer.
    pub timeout: Option<Duration>,
    /// The host's network.
    pub network: bool,
    /// A network of its own to be in, in place of none.
    pub netns: Option<PathBuf>,
    /// The image's block devices.
    pub image_devices: bool,
    /// Directories of the host, mounted read-only: from, to.
    pub read_only: Vec<(PathBuf, String)>,
    /// Directories of the host, mounted to write to: from, to.
    pub read_write: Vec<(PathBuf, String)>,
    /// Changes to the target are thrown away.
    pub discard: bool,
    /// What it reads of the layers below the uppermost is remembered, for [`Machine::take_reads`].
    pub observed: bool,
}

/// A command that runs on the host, confined.
#[derive(Debug, Clone, PartialEq)]
pub struct Outside {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// All its variables; nothing is inherited.
    pub env: BTreeMap<String, String>,
    /// Where it starts.
    pub cwd: PathBuf,
    /// How it is confined.
    pub confinement: Confinement,
    /// The host's network.
    pub network: bool,
    /// It talks to the user: its input and outputs are ours.
    pub interactive: bool,
    /// Directories it may write to.
    pub writable: Vec<PathBuf>,
    /// Directories it must see wherever they are: those of the elements, and where it starts.
    pub readable: Vec<PathBuf>,
    /// A directory where it seems to write; what it writes waits until the build has ended well.
    pub captured: Option<PathBuf>,
    /// The target has `/proc`, `/dev` and `/sys`, so that `chroot` works.
    pub furnished: bool,
    /// It is killed when it takes longer.
    pub timeout: Option<Duration>,
    /// A network of its own to be in, in place of none.
    pub netns: Option<PathBuf>,
    /// In place of what it sees and writes to by the fields above, for a `strict` one.
    pub strict: StrictView,
}

/// What a `strict` command on the host sees of the build: what is at the first path is seen at the second.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StrictView {
    /// Read-only.
    pub readable: Vec<(PathBuf, PathBuf)>,
    /// To write to.
    pub writable: Vec<(PathBuf, PathBuf)>,
}

/// A program of the host that does a part of the runtime's own work, as root and unconfined.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostTool {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Variables beside the few that every tool has.
    pub env: BTreeMap<String, String>,
    /// It is killed when it takes longer.
    pub timeout: Option<Duration>,
}

/// What a build can run out of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Full {
    /// The file systems of the image.
    Image,
    /// The file system with the work files of builds, at this directory.
    WorkDirectory(PathBuf),
    /// The memory that work files may take.
    Memory,
}

/// What privileged work a build needs, that for its disk included. Every method that takes something has one that gives it back.
pub trait Machine: Disks + Downloads {
    /// A new upper directory; later changes to the target land in it.
    ///
    /// # Errors
    /// When the machine refuses.
    fn begin_layer(&mut self, name: &str) -> Result<()>;

    /// Throws away what came into the uppermost layer, and begins it again.
    ///
    /// # Errors
    /// When the machine refuses.
    fn restart_layer(&mut self, name: &str) -> Result<()>;

    /// Puts a layer on top that an earlier build made; the directory is only read.
    ///
    /// # Errors
    /// When the machine refuses, or has no layers that outlive a build.
    fn stack_layer(&mut self, _name: &str, _tree: &Path) -> Result<()> {
        bail!("this machine has no layers of earlier builds")
    }

    /// Ends the uppermost layer. Gives the directory with what came into it, which stays as it is until the target moves to the disk; none
    /// when that is nothing.
    ///
    /// # Errors
    /// When the machine refuses.
    fn end_layer(&mut self) -> Result<Option<PathBuf>> {
        Ok(None)
    }

    /// What is read of the layers below the uppermost is remembered from now on, by commands in the target and through [`Machine::target`].
    fn observe(&mut self) {}

    /// Ends that, and says what was read since, or by the last command that was observed; none when it can't be known.
    ///
    /// # Errors
    /// When something still uses the target, or the layers can't be read.
    fn take_reads(&mut self) -> Result<Option<Reads>> {
        Ok(None)
    }

    /// Whether hooks on the host have left something mounted in the target.
    fn has_hook_mounts(&self) -> bool {
        false
    }

    /// Directories with what steps changed, lowest first, and the numbers that the names of their layers begin with.
    fn layers(&self) -> Vec<(usize, PathBuf)> {
        Vec::new()
    }

    /// The target as the host's root sees it, mounted.
    ///
    /// # Errors
    /// When the machine refuses.
    fn target(&mut self) -> Result<PathBuf>;

    /// Runs a command in the target's sandbox.
    ///
    /// # Errors
    /// When it can't be started; its own status is not an error.
    fn inside(&mut self, command: &Inside, on_line: &mut OnLine<'_>) -> Result<Ending>;

    /// The same for a program whose output is data.
    ///
    /// # Errors
    /// When it can't be started; its own status is not an error.
    fn inside_exact(&mut self, command: &Inside, on_bytes: &mut OnBytes<'_>) -> Result<Ending>;

    /// Runs a command on the host.
    ///
    /// # Errors
    /// When it can't be started; its own status is not an error.
    fn outside(&mut self, command: &Outside, on_line: &mut OnLine<'_>) -> Result<Ending>;

    /// What commands since the last call have tried and were denied.
    fn take_attempts(&mut self) -> Vec<Attempt> {
        Vec::new()
    }

    /// Gives back what hooks on the host have left mounted in the target.
    ///
    /// # Errors
    /// When it is busy.
    fn drop_hook_mounts(&mut self) -> Result<()>;

    /// The directory with what was written to the directory [`Outside::captured`].
    fn captured(&self, directory: &Path) -> PathBuf;

    /// Runs a program of the host for the runtime itself.
    ///
    /// # Errors
    /// When it can't be started; its own status is not an error.
    fn tool(&mut self, tool: &HostTool, on_line: &mut OnLine<'_>) -> Result<Ending>;

    /// Bytes in use by the target, as file systems count them.
    ///
    /// # Errors
    /// When the tree can't be read.
    fn usage(&mut self) -> Result<u64>;

    /// Copies the target into the mounted file systems, which are the target from then on.
    ///
    /// # Errors
    /// When a file system is full or the machine refuses.
    fn move_target_to_disk(&mut self) -> Result<()>;

    /// A directory in memory, empty, of at most so many bytes; there until [`Machine::drop_tmpfs`].
    ///
    /// # Errors
    /// When the machine refuses.
    fn tmpfs(&mut self, bytes: u64) -> Result<PathBuf>;

    /// Gives back all directories in memory.
    ///
    /// # Errors
    /// When one is busy.
    fn drop_tmpfs(&mut self) -> Result<()>;

    /// Where the file system of a mount point of the image is mounted now.
    fn mounted_at(&self, mount_point: &str) -> Option<PathBuf>;

    /// The image file, to read from.
    ///
    /// # Errors
    /// When there is no such image.
    fn image(&mut self, name: &str) -> Result<std::fs::File>;

    /// Gives back everything that is still held, in reverse order; what fails is reported and the rest is still done.
    fn release(&mut self) -> Vec<anyhow::Error>;

    /// Directory of the work files of this build.
    fn work_dir(&self) -> &Path;

    /// What has practically no space left, if anything: asked when something failed.
    fn full(&self) -> Option<Full> {
        None
    }

    /// Notes a file that may exist for a moment and must not outlive us if we are killed then.
    ///
    /// # Errors
    /// When it can't be noted.
    fn note_passing_file(&mut self, _file: &Path) -> Result<()> {
        Ok(())
    }

    /// Whether the build was told to stop.
    fn interrupted(&self) -> bool;
}
