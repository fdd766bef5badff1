//! Owns the directory in which one build works, and the journal of what could outlive the process.
//! Must not know what a build is. Called by the engine at start and end, and by `dibw doctor`.
//!
//! A live work directory is locked (`flock` on the directory itself, by a descriptor that dies with us), so what can be
//! locked is dead. Removing never crosses a mount: a forgotten bind mount would empty somebody's disk.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::artifact::TEMPORARY_PREFIX;
use crate::idmap_trial::TRIAL;
use crate::loops::{LoopDevice, LoopIdentity};
use crate::lvm;
use crate::mounts::{self, Mount};
use crate::tree_walk::remove_tree;

const PREFIX: &str = "dibw-";
const JOURNAL: &str = "journal.json";
/// The directory to build in is `dib_build.` and eight characters: elements take what is after the dot for a word that no other build has.
const BUILD: &str = "dib_build.";
/// Root of a user namespace is another user outside: it must get through, but not list.
const PASSABLE: u32 = 0o711;
/// How many names are tried.
const NAME_TRIES: u32 = 10_000;

/// Something that could outlive us.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Outlives {
    /// A mount below the work directory, made outside a private mount namespace.
    Mount(PathBuf),
    /// A loop device; it detaches itself, the entry is for people.
    Loop(PathBuf),
    /// An LVM volume group and the loop devices below it, which it keeps attached while it is active.
    VolumeGroup {
        /// Its name.
        name: String,
        /// Its devices.
        devices: Vec<LoopIdentity>,
    },
    /// An output under its hidden temporary name.
    File(PathBuf),
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Journal {
    pid: u32,
    outlives: Vec<Outlives>,
}

/// The directory of one build. Dropping it tries to remove it; [`WorkDir::remove`] reports why it could not.
#[derive(Debug)]
pub struct WorkDir {
    path: PathBuf,
    /// Name of the directory to build in.
    build: String,
    /// Holds the lock.
    lock: Option<File>,
    tmpfs: Option<Mount>,
    journal: Journal,
}

/// What was found of a dead build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cleaned {
    /// Its work directory.
    pub path: PathBuf,
    /// What was done, one line each.
    pub done: Vec<String>,
    /// Why something is still there.
    pub left: Option<String>,
}

impl WorkDir {
    /// Makes and locks `<base>/dibw-<id>/`. With `tmpfs`, a tmpfs of that many bytes is mounted on the directory to
    /// build in; the caller is in a private mount namespace, so that it vanishes with us.
    ///
    /// # Errors
    /// When `base` cannot be written or the tmpfs cannot be mounted.
    pub fn create(base: &Path, tmpfs: Option<u64>) -> Result<WorkDir> {
        // The mount table has real paths only.
        let base = base.canonicalize().with_context(|| format!("work directory base {}", base.display()))?;
        for number in 0..NAME_TRIES {
            let path = base.join(format!("{PREFIX}{}-{number}", std::process::id()));
            match std::fs::DirBuilder::new().mode(PASSABLE).create(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
                Err(error) => {
                    return Err(error).with_context(|| format!("work directory {}", path.display()));
                }
            }
            // Someone who cleans up may have seen it before it was locked; then it is theirs to remove.
            let Some(lock) = lock(&path)? else { continue };
            let journal = Journal { pid: std::process::id(), outlives: Vec::new() };
            let build = format!("{BUILD}{:08x}", unlike_others());
            let mut work = WorkDir { path, build, lock: Some(lock), tmpfs: None, journal };
            work.prepare(tmpfs)?;
            return Ok(work);
        }
        bail!("{}: no free name for a work directory after {NAME_TRIES} tries", base.display())
    }

    fn prepare(&mut self, tmpfs: Option<u64>) -> Result<()> {
        passable(&self.path)?;
        self.write_journal()?;
        let build = self.path();
        std::fs::create_dir(&build).with_context(|| build.display().to_string())?;
        if let Some(bytes) = tmpfs {
            // Neither nodev nor nosuid: a target that is unpacked here has both.
            let options = format!("size={bytes},mode={PASSABLE:o}");
            self.tmpfs = Some(Mount::new(Path::new("tmpfs"), &build, "tmpfs", &options)?);
        }
        passable(&build)
    }

    /// The empty directory to build in.
    pub fn path(&self) -> PathBuf {
        self.path.join(&self.build)
    }

    /// Whether it is kept in memory.
    pub fn in_memory(&self) -> bool {
        self.tmpfs.is_some()
    }

    /// Writes down that something exists which could outlive us. To be called before it is made.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub fn record(&mut self, entry: Outlives) -> Result<()> {
        self.journal.outlives.push(entry);
        self.write_journal()
    }

    /// Takes the entry out again, once the thing is gone.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub fn forget(&mut self, entry: &Outlives) -> Result<()> {
        self.journal.outlives.retain(|known| known != entry);
        self.write_journal()
    }

    fn write_journal(&self) -> Result<()> {
        let (path, new) = (self.path.join(JOURNAL), self.path.join("journal.new"));
        let text = serde_json::to_vec(&self.journal).context("journal")?;
        std::fs::write(&new, text).with_context(|| new.display().to_string())?;
        std::fs::rename(&new, &path).with_context(|| path.display().to_string())
    }

    /// Unmounts the tmpfs and removes everything.
    ///
    /// # Errors
    /// When something is still mounted below it, or cannot be removed.
    pub fn remove(mut self) -> Result<()> {
        self.clear()
    }

    /// Leaves everything where it is, for somebody to look at; the next clean-up removes it. Returns the path. A tmpfs
    /// lives on only as long as the mount namespace.
    pub fn keep(mut self) -> PathBuf {
        self.lock = None;
        if let Some(mount) = self.tmpfs.take() {
            std::mem::forget(mount);
        }
        self.path()
    }

    fn clear(&mut self) -> Result<()> {
        let Some(lock) = self.lock.take() else { return Ok(()) };
        if let Some(mount) = self.tmpfs.take() {
            mount.unmount()?;
        }
        remove_work(&self.path)?;
        drop(lock);
        Ok(())
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        if let Err(error) = self.clear() {
            tracing::warn!(directory = %self.path.display(), "left behind: {error:#}");
        }
    }
}

/// Removes what dead builds left in `base`: their recorded mounts and temporary outputs, then their work directories.
/// Directories that are locked, or are not ours alone, are passed over.
///
/// # Errors
/// When `base` cannot be read; what goes wrong with one directory is in its [`Cleaned::left`].
pub fn clean_dead(base: &Path) -> Result<Vec<Cleaned>> {
    let mut cleaned = Vec::new();
    let base = match base.canonicalize() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(cleaned),
        base_path => base_path.with_context(|| base.display().to_string())?,
    };
    let entries = std::fs::read_dir(&base).with_context(|| base.display().to_string())?;
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| base.display().to_string())?;
        let name = entry.file_name();
        if is_ours(name.as_bytes()) || name.as_bytes().starts_with(TRIAL.as_bytes()) {
            paths.push(entry.path());
        }
    }
    paths.sort();
    for path in paths {
        // In a directory that all may write to, others could plant a journal for root to act on.
        let ours = std::fs::symlink_metadata(&path).is_ok_and(|meta| {
            meta.is_dir() && meta.uid() == rustix::process::geteuid().as_raw() && meta.mode() & 0o022 == 0
        });
        if !ours {
            continue;
        }
        match lock(&path) {
            Ok(Some(held)) => {
                let mut done = Vec::new();
                let left = clean_one(&path, &mut done).err().map(|error| format!("{error:#}"));
                drop(held);
                cleaned.push(Cleaned { path, done, left });
            }
            Ok(None) => {}
            Err(error) => cleaned.push(Cleaned { path, done: Vec::new(), left: Some(format!("{error:#}")) }),
        }
    }
    Ok(cleaned)
}

/// A number that another build hardly has: process numbers are of little use, since every build has a pid namespace of its own.
fn unlike_others() -> u32 {
    use std::hash::BuildHasher;
    // Keyed at random by the standard library, once a process.
    std::collections::hash_map::RandomState::new().hash_one(std::process::id()) as u32
}

/// `dibw-<pid>-<number>`: the base may be a directory that others use too.
fn is_ours(name: &[u8]) -> bool {
    let is_number = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let Some(id) = name.strip_prefix(PREFIX.as_bytes()) else { return false };
    let mut parts = id.splitn(2, |byte| *byte == b'-');
    parts.next().is_some_and(is_number) && parts.next().is_some_and(is_number)
}

fn clean_one(path: &Path, done: &mut Vec<String>) -> Result<()> {
    // Killed before the first journal, a build has made nothing yet; a damaged one tells nothing.
    let journal: Journal = match std::fs::read(path.join(JOURNAL)) {
        Ok(text) => {
            serde_json::from_slice(&text).with_context(|| path.join(JOURNAL).display().to_string())?
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Journal::default(),
        Err(error) => return Err(error).with_context(|| path.join(JOURNAL).display().to_string()),
    };
    for entry in journal.outlives.iter().rev() {
        match entry {
            Outlives::Mount(point) if point.starts_with(path) => {
                if mounts::mounted_below(path)?.contains(point) {
                    mounts::unmount(point)?;
                    done.push(format!("unmounted {}", point.display()));
                }
            }
            Outlives::File(file) if is_temporary(file) => {
                if std::fs::symlink_metadata(file).is_ok_and(|meta| meta.is_file()) {
                    std::fs::remove_file(file).with_context(|| file.display().to_string())?;
                    done.push(format!("removed {}", file.display()));
                }
            }
            Outlives::Mount(_) | Outlives::File(_) | Outlives::Loop(_) => {}
            Outlives::VolumeGroup { name, devices } => take_down(name, devices, done)?,
        }
    }
    remove_work(path)?;
    done.push(format!("removed {}", path.display()));
    Ok(())
}

/// Deactivates a volume group that holds loop devices of ours, and detaches them. Devices that show something else by now, or nothing,
/// are not ours any more.
fn take_down(group: &str, devices: &[LoopIdentity], done: &mut Vec<String>) -> Result<()> {
    let found: Vec<Option<LoopDevice>> = devices.iter().map(LoopIdentity::find).collect::<Result<_>>()?;
    let found: Vec<LoopDevice> = found.into_iter().flatten().collect();
    if found.is_empty() {
        return Ok(());
    }
    let paths: Vec<PathBuf> = found.iter().map(|device| device.path().to_owned()).collect();
    lvm::deactivate_group(group, &paths).with_context(|| format!("volume group {group} of a dead build"))?;
    for device in found {
        device.detach()?;
    }
    done.push(format!("deactivated volume group {group}"));
    Ok(())
}

fn is_temporary(file: &Path) -> bool {
    file.is_absolute()
        && file.file_name().is_some_and(|name| name.as_bytes().starts_with(TEMPORARY_PREFIX.as_bytes()))
}

/// Locks a work directory; none when somebody holds it, or removed it before it was locked.
pub(crate) fn lock(path: &Path) -> Result<Option<File>> {
    let what = || format!("work directory {}", path.display());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = match rustix::fs::openat(CWD, path, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        dir => dir.with_context(what)?,
    };
    match rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::AGAIN) => return Ok(None),
        locked => locked.with_context(what)?,
    }
    let held = rustix::fs::fstat(&dir).with_context(what)?;
    match rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(now) if (now.st_dev, now.st_ino) == (held.st_dev, held.st_ino) => Ok(Some(dir.into())),
        Ok(_) | Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno).with_context(what),
    }
}

fn remove_work(path: &Path) -> Result<()> {
    let below = mounts::mounted_below(path)?;
    if let Some(point) = below.first() {
        bail!("{}: not removed, something is mounted on {}", path.display(), point.display());
    }
    let base = path.parent().context("a work directory has a parent")?;
    let base = File::open(base).with_context(|| base.display().to_string())?;
    let name = path.file_name().context("a work directory has a name")?;
    let name = CString::new(name.as_bytes()).context("a file name has no NUL")?;
    remove_tree(base.as_fd(), &name, path)
}

/// Sets the mode whatever the umask says.
fn passable(dir: &Path) -> Result<()> {
    rustix::fs::chmod(dir, Mode::from_raw_mode(PASSABLE)).with_context(|| dir.display().to_string())
}
