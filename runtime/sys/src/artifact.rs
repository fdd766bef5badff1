//! Owns output files: they get their name only when they are whole.
//! Must not know formats or checksums. Called by the engine for images, checksum files, manifests and `plan.json`.
//!
//! Until the commit the file has no name at all (`O_TMPFILE`), so that even after SIGKILL nothing of it remains. Where
//! the file system cannot do that it has a hidden one, which the caller should write into its journal.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::calendar::Moment;

/// Every temporary name begins so; `work_dir` removes no file of a dead build whose name does not.
pub(crate) const TEMPORARY_PREFIX: &str = ".dibw-";
/// How many names are tried for a temporary or an old file.
const NAME_TRIES: u32 = 1000;
/// What an output has beside itself, and what goes with it when it is renamed.
const COMPANIONS: [&str; 2] = ["md5", "sha256"];

/// What happens to a file that has the final name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It is replaced.
    Replace,
    /// It and its `.md5` and `.sha256` are renamed to `<base>-%Y.%m.%d-%H.%M.%S.<ext>`, in UTC, with this time.
    Keep(SystemTime),
}

/// An output file under construction. Dropped without [`Artifact::commit`] it leaves nothing.
#[derive(Debug)]
pub struct Artifact {
    file: File,
    dir: File,
    dir_path: PathBuf,
    name: OsString,
    /// The hidden name, where the file could not be made without one.
    temporary: Option<OsString>,
}

impl Artifact {
    /// Starts the file that is to be `final_path`, open for reading and writing, mode 0644 less the umask.
    ///
    /// # Errors
    /// When its directory does not exist or cannot be written, or the path is that of a directory.
    pub fn create(final_path: &Path) -> Result<Artifact> {
        let what = || format!("output {}", final_path.display());
        let name = final_path.file_name().context("the path has no file name").with_context(what)?.to_owned();
        let dir_path = match final_path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir.to_owned(),
            _ => PathBuf::from("."),
        };
        let dir =
            File::open(&dir_path).with_context(|| format!("{}: directory {}", what(), dir_path.display()))?;
        if let Ok(stat) = rustix::fs::statat(&dir, &name, AtFlags::SYMLINK_NOFOLLOW) {
            let kind = FileType::from_raw_mode(stat.st_mode);
            ensure!(kind != FileType::Directory, "{}: is a directory", what());
        }
        let mode = Mode::from_raw_mode(0o644);
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match rustix::fs::openat(&dir, ".", flags, mode) {
            Ok(file) => Ok(Artifact { file: file.into(), dir, dir_path, name, temporary: None }),
            // What kernels and file systems without O_TMPFILE answer (open(2), BUGS).
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT) => {
                Artifact::with_hidden_name(dir, dir_path, name, mode).with_context(what)
            }
            Err(errno) => Err(errno).with_context(what),
        }
    }

    fn with_hidden_name(dir: File, dir_path: PathBuf, name: OsString, mode: Mode) -> Result<Artifact> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for number in 0..NAME_TRIES {
            let temporary = hidden_name(&name, number);
            match rustix::fs::openat(&dir, &temporary, flags, mode) {
                Ok(file) => {
                    return Ok(Artifact {
                        file: file.into(),
                        dir,
                        dir_path,
                        name,
                        temporary: Some(temporary),
                    });
                }
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno).context("making a temporary file"),
            }
        }
        bail!("{}: no free temporary name after {NAME_TRIES} tries", dir_path.display())
    }

    /// The file, to be written.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Where another program of this build can open the file to write it, name or not.
    pub fn open_path(&self) -> PathBuf {
        path_of(&self.file)
    }

    /// What the file will be called.
    pub fn final_path(&self) -> PathBuf {
        self.dir_path.join(&self.name)
    }

    /// The hidden name, for the journal; none where the file has no name that could outlive us.
    pub fn temporary_path(&self) -> Option<PathBuf> {
        self.temporary.as_ref().map(|name| self.dir_path.join(name))
    }

    /// Where it may be for a moment although it has no name yet, for the journal: only a rename replaces something in
    /// one step, and only a name can be renamed.
    pub fn passing_path(&self) -> PathBuf {
        self.temporary_path().unwrap_or_else(|| self.dir_path.join(hidden_name(&self.name, 0)))
    }

    /// Writes the file to the disk, deals with an existing one, and gives it its name. Returns the path.
    ///
    /// # Errors
    /// When it cannot be written (a full disk shows here at the latest) or named; then nothing of it remains.
    pub fn commit(self, existing: Existing) -> Result<PathBuf> {
        let path = self.final_path();
        commit_all(vec![(self, existing)])?;
        Ok(path)
    }

    fn write_out(&self) -> Result<()> {
        self.file
            .sync_all()
            .with_context(|| format!("output {}: writing to disk", self.final_path().display()))
    }

    /// Gives it its name, replacing what has it.
    fn give_name(&mut self) -> Result<()> {
        let path = self.final_path();
        let what = || format!("output {}", path.display());
        if self.temporary.is_none() && self.link(&self.name.clone()).with_context(what)? {
            return Ok(());
        }
        // Something has the name: only a rename replaces it in one step, and only a name can be renamed.
        for number in 0..NAME_TRIES {
            if self.temporary.is_some() {
                break;
            }
            let temporary = hidden_name(&self.name, number);
            if self.link(&temporary).with_context(what)? {
                self.temporary = Some(temporary);
            }
        }
        let temporary =
            self.temporary.as_ref().with_context(|| format!("{}: no free temporary name", what()))?;
        rustix::fs::renameat(&self.dir, temporary, &self.dir, &self.name).with_context(what)?;
        self.temporary = None;
        Ok(())
    }

    /// Gives the nameless file a name; false when something has it already.
    fn link(&self, name: &OsStr) -> Result<bool> {
        let file = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        match rustix::fs::linkat(CWD, file, &self.dir, name, AtFlags::SYMLINK_FOLLOW) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(errno) => Err(errno).context("giving the finished file its name"),
        }
    }

    /// The file is whole and named; should the directory not reach the disk, only a power cut could show it.
    fn sync_name(&self) {
        if let Err(error) = self.dir.sync_all() {
            tracing::warn!(directory = %self.dir_path.display(), "not written to disk: {error}");
        }
    }
}

impl Drop for Artifact {
    fn drop(&mut self) {
        let Some(temporary) = self.temporary.take() else { return };
        if let Err(errno) = rustix::fs::unlinkat(&self.dir, &temporary, AtFlags::empty()) {
            tracing::warn!(file = %self.dir_path.join(&temporary).display(), "left behind: {errno}");
        }
    }
}

/// Gives files that belong together their names as if at once: whatever takes time or fails (a full disk) comes before
/// the first of them has its name. The first file is named last, so that where it is, the others are.
///
/// # Errors
/// As [`Artifact::commit`]; files that were named already lose their names again.
pub fn commit_all(artifacts: Vec<(Artifact, Existing)>) -> Result<()> {
    for (artifact, _) in &artifacts {
        artifact.write_out()?;
    }
    for (artifact, existing) in &artifacts {
        let Existing::Keep(time) = existing else { continue };
        keep_old(&artifact.dir, &artifact.name, *time)
            .with_context(|| format!("output {}: keeping the old one", artifact.final_path().display()))?;
    }
    let mut named: Vec<Artifact> = Vec::new();
    for (mut artifact, _) in artifacts.into_iter().rev() {
        if let Err(error) = artifact.give_name() {
            for artifact in &named {
                if let Err(errno) = rustix::fs::unlinkat(&artifact.dir, &artifact.name, AtFlags::empty()) {
                    tracing::warn!(file = %artifact.final_path().display(), "left behind: {errno}");
                }
            }
            return Err(error);
        }
        named.push(artifact);
    }
    for artifact in &named {
        artifact.sync_name();
    }
    Ok(())
}

/// Where another program of this build can open a file that we have open: it need not have a name.
pub fn path_of(file: &File) -> PathBuf {
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()).into()
}

/// Writes a small file (checksums, manifests, `plan.json`) whole or not at all.
///
/// # Errors
/// As [`Artifact::create`] and [`Artifact::commit`].
pub fn write_whole(final_path: &Path, contents: &[u8], existing: Existing) -> Result<PathBuf> {
    let artifact = Artifact::create(final_path)?;
    let mut file = artifact.file();
    file.write_all(contents).with_context(|| format!("output {}", final_path.display()))?;
    artifact.commit(existing)
}

/// Unlike those of any other build: a process id is not enough, each pid namespace counts from 1.
fn hidden_name(name: &OsStr, number: u32) -> OsString {
    static BUILD: OnceLock<u128> = OnceLock::new();
    let since = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let build = BUILD.get_or_init(since);
    let mut hidden = OsString::from(format!("{TEMPORARY_PREFIX}{build:x}-{number}."));
    hidden.push(name);
    hidden
}

/// Renames an existing output and what belongs to it, never over something else.
fn keep_old(dir: &File, name: &OsStr, time: SystemTime) -> Result<()> {
    for number in 1..NAME_TRIES {
        let old = old_name(name, time, number)?;
        match rustix::fs::renameat_with(dir, name, dir, &old, RenameFlags::NOREPLACE) {
            Ok(()) => {
                for companion in COMPANIONS {
                    let with =
                        |name: &OsStr| [name, OsStr::new("."), OsStr::new(companion)].into_iter().collect();
                    let (from, to): (OsString, OsString) = (with(name), with(&old));
                    match rustix::fs::renameat(dir, &from, dir, &to) {
                        Ok(()) | Err(Errno::NOENT) => {}
                        Err(errno) => return Err(errno).with_context(|| from.display().to_string()),
                    }
                }
                return Ok(());
            }
            Err(Errno::NOENT) => return Ok(()),
            // Two in one second: a number follows the time.
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno).with_context(|| old.display().to_string()),
        }
    }
    bail!("no free name after {NAME_TRIES} tries")
}

/// `image.qcow2` becomes `image-2026.01.31-23.59.59.qcow2`; `.tar.zst` and the like are one extension.
fn old_name(name: &OsStr, time: SystemTime, number: u32) -> Result<OsString> {
    let name = name.to_str().context("the file name is not UTF-8")?;
    let (base, extension) = match name.rfind(".tar.").or_else(|| name.rfind('.')) {
        Some(dot) if dot > 0 => name.split_at(dot),
        _ => (name, ""),
    };
    let again = if number > 1 { format!("-{number}") } else { String::new() };
    Ok(format!("{base}-{}{again}{extension}", stamp(time)).into())
}

/// `%Y.%m.%d-%H.%M.%S` in UTC.
fn stamp(time: SystemTime) -> String {
    let Moment { year, month, day, hour, minute, second } = Moment::at(time);
    format!("{year:04}.{month:02}.{day:02}-{hour:02}.{minute:02}.{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn old_names() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        for (name, seconds, number, expected) in [
            ("image.qcow2", 0, 1, "image-1970.01.01-00.00.00.qcow2"),
            ("image.tar.zst", 951_782_399, 1, "image-2000.02.28-23.59.59.tar.zst"),
            ("a.b.raw", 951_782_400, 1, "a.b-2000.02.29-00.00.00.raw"),
            ("image", 1_709_251_199, 1, "image-2024.02.29-23.59.59"),
            (".hidden", 1_772_323_200, 2, ".hidden-2026.03.01-00.00.00-2"),
        ] {
            assert_eq!(old_name(OsStr::new(name), at(seconds), number).unwrap(), OsStr::new(expected));
        }
    }
}
