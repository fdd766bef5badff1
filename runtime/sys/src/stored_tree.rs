//! Owns layers that outlive a build: copying one into the cache with a list of what is in it, and telling later whether the copy is still that.
//! Must not know which step a layer is of. Called by the engine's layer cache.
//!
//! The list has one line per entry, sorted by path: the path (escaped), what `lstat` says of it, its modification time, and a SHA-256 over
//! contents, link target and extended attributes. A quick check compares all but the last field, so it reads no contents.

use std::ffi::CStr;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use crate::copy_tree::copy_layer;
use crate::tree_walk::{DEEPEST, open_dir, open_start, shown, sorted_entries, stat_entry};

/// One read of contents.
const BUFFER: usize = 256 * 1024;
/// The kernel's bounds for the list of attribute names and for one value (`linux/limits.h`).
const XATTR_MAX: usize = 65536;

/// By these the kernel's overlay notes which files of this very mount an entry comes from, which is no part of what it is.
const TIES: [&[u8]; 4] =
    [b"trusted.overlay.origin", b"trusted.overlay.impure", b"trusted.overlay.uuid", b"trusted.overlay.nlink"];

/// What was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Entries, the top directory included.
    pub entries: u64,
    /// Allocated bytes.
    pub bytes: u64,
    /// SHA-256 of the list, by which it is known to be whole.
    pub list_digest: String,
}

/// How closely a stored tree is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scrutiny {
    /// Names, kinds, modes, owners, sizes and times.
    Quick,
    /// Contents and extended attributes, too.
    Thorough,
}

/// Copies the layer `from` (an overlay's upper directory at rest) into the empty directory `to`, and writes its list to `list`.
///
/// # Errors
/// When something can't be read or written.
pub fn store(from: &Path, to: &Path, list: &Path) -> Result<Stored> {
    copy_layer(from, to)?;
    let file = File::create_new(list).with_context(|| list.display().to_string())?;
    let mut lister = Writing { out: BufWriter::new(file), digest: Sha256::new(), entries: 0, bytes: 0 };
    each_entry(to, Scrutiny::Thorough, &mut |entry| lister.take(entry))
        .with_context(|| format!("listing {}", to.display()))?;
    lister.out.flush().with_context(|| list.display().to_string())?;
    Ok(Stored { entries: lister.entries, bytes: lister.bytes, list_digest: hex(&lister.digest.finalize()) })
}

/// What first tells `tree` from its list, whose own digest is known; none when it is what was stored.
///
/// # Errors
/// When something can't be read.
pub fn first_damage(
    tree: &Path,
    list: &Path,
    list_digest: &str,
    scrutiny: Scrutiny,
) -> Result<Option<String>> {
    let text = match std::fs::read(list) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Some("its list is missing".into()));
        }
        text => text.with_context(|| list.display().to_string())?,
    };
    if hex(&Sha256::digest(&text)) != list_digest {
        return Ok(Some("its list is damaged".into()));
    }
    if !tree.is_dir() {
        return Ok(Some("it is gone".into()));
    }
    let mut lines = BufReader::new(text.as_slice()).lines();
    let mut damage = None;
    let compared = each_entry(tree, scrutiny, &mut |entry| {
        let line = lines.next().transpose()?.unwrap_or_default();
        let fields: Vec<&str> = line.split('\t').collect();
        let same = fields.len() == 4
            && fields[0] == entry.path
            && fields[1] == entry.kind
            && fields[2] == entry.modified
            && (scrutiny == Scrutiny::Quick || fields[3] == entry.contents);
        if !same {
            damage = Some(format!("{} is not what was stored", entry.path));
            bail!("different");
        }
        Ok(())
    });
    match (damage, compared) {
        (Some(damage), _) => Ok(Some(damage)),
        (None, Err(error)) => Err(error.context(format!("checking {}", tree.display()))),
        (None, Ok(())) => Ok(lines.next().is_some().then(|| "entries are missing".to_owned())),
    }
}

/// A digest of a tree that leaves out times, so that the same work done again gives the same.
///
/// # Errors
/// When something can't be read.
pub fn digest(tree: &Path) -> Result<String> {
    let mut digest = Sha256::new();
    each_entry(tree, Scrutiny::Thorough, &mut |entry| {
        for field in [&entry.path, &entry.kind, &entry.contents] {
            digest.update(field);
            digest.update(b"\t");
        }
        Ok(())
    })
    .with_context(|| format!("reading {}", tree.display()))?;
    Ok(hex(&digest.finalize()))
}

/// One entry, as its line has it.
struct Entry {
    path: String,
    kind: String,
    modified: String,
    contents: String,
    allocated: u64,
}

/// A list being written.
struct Writing {
    out: BufWriter<File>,
    digest: Sha256,
    entries: u64,
    bytes: u64,
}

impl Writing {
    fn take(&mut self, entry: &Entry) -> Result<()> {
        let line = format!("{}\t{}\t{}\t{}\n", entry.path, entry.kind, entry.modified, entry.contents);
        self.digest.update(&line);
        self.entries += 1;
        self.bytes += entry.allocated;
        Ok(self.out.write_all(line.as_bytes())?)
    }
}

type Take<'a> = dyn FnMut(&Entry) -> Result<()> + 'a;

fn each_entry(tree: &Path, scrutiny: Scrutiny, take: &mut Take<'_>) -> Result<()> {
    let start = open_start(tree)?;
    let stat = rustix::fs::fstat(&start)?;
    let mut walk = Walk { scrutiny, buffer: vec![0; BUFFER], names: vec![0; XATTR_MAX] };
    let contents = walk.contents(start.as_fd(), c".", &stat)?;
    take(&Entry { path: "/".into(), contents, ..described(&stat) })?;
    walk.below(start.as_fd(), Path::new("/"), "/", 0, take)
}

struct Walk {
    scrutiny: Scrutiny,
    buffer: Vec<u8>,
    names: Vec<u8>,
}

impl Walk {
    fn below(
        &mut self,
        dir: BorrowedFd<'_>,
        people: &Path,
        path: &str,
        depth: usize,
        take: &mut Take<'_>,
    ) -> Result<()> {
        if depth > DEEPEST {
            bail!("{}: more than {DEEPEST} directories deep", people.display());
        }
        for (name, _) in sorted_entries(dir)? {
            let shown = shown(people, &name);
            let what = || shown.display().to_string();
            let stat = stat_entry(dir, &name).with_context(what)?;
            let path = format!("{path}{}", name.to_bytes().escape_ascii());
            let contents = self.contents(dir, &name, &stat).with_context(what)?;
            take(&Entry { path: path.clone(), contents, ..described(&stat) })?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                let child: OwnedFd = open_dir(dir, &name).with_context(what)?;
                self.below(child.as_fd(), &shown, &format!("{path}/"), depth + 1, take)?;
            }
        }
        Ok(())
    }

    /// A digest of what `lstat` does not show.
    fn contents(&mut self, dir: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Result<String> {
        if self.scrutiny == Scrutiny::Quick {
            return Ok(String::new());
        }
        let mut digest = Sha256::new();
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let mut file = File::from(rustix::fs::openat(dir, name, flags, Mode::empty())?);
                loop {
                    match file.read(&mut self.buffer)? {
                        0 => break,
                        count => digest.update(&self.buffer[..count]),
                    }
                }
            }
            FileType::Symlink => digest.update(rustix::fs::readlinkat(dir, name, Vec::new())?.to_bytes()),
            _ => {}
        }
        self.attributes(dir, name, &mut digest)?;
        Ok(hex(&digest.finalize()))
    }

    /// Names in the order of the alphabet: that of the file system means nothing.
    fn attributes(&mut self, dir: BorrowedFd<'_>, name: &CStr, digest: &mut Sha256) -> Result<()> {
        // No system call takes a directory descriptor here; /proc leads from it to the entry without a race.
        let path = [format!("/proc/self/fd/{}/", dir.as_raw_fd()).as_bytes(), name.to_bytes()].concat();
        let length = match rustix::fs::llistxattr(&path, &mut self.names[..]) {
            Err(Errno::OPNOTSUPP) => 0,
            length => length?,
        };
        let mut names: Vec<Vec<u8>> = self.names[..length]
            .split(|&byte| byte == 0)
            .filter(|name| !name.is_empty() && !TIES.contains(name))
            .map(Vec::from)
            .collect();
        names.sort();
        for name in names {
            let size = rustix::fs::lgetxattr(&path, name.as_slice(), &mut self.buffer[..XATTR_MAX])?;
            for part in [&name, &self.buffer[..size]] {
                digest.update((part.len() as u64).to_le_bytes());
                digest.update(part);
            }
        }
        Ok(())
    }
}

/// What `lstat` says. The size of a directory and its number of links are its file system's affair.
fn described(stat: &Stat) -> Entry {
    let kind = FileType::from_raw_mode(stat.st_mode);
    let size = if kind == FileType::Directory { 0 } else { stat.st_size };
    let mut text = String::new();
    let written = write!(
        text,
        "{kind:?} {:o} {} {} {size} {:x}",
        stat.st_mode & 0o7777,
        stat.st_uid,
        stat.st_gid,
        stat.st_rdev
    );
    debug_assert!(written.is_ok(), "a string takes everything");
    Entry {
        path: String::new(),
        kind: text,
        modified: format!("{}.{}", stat.st_mtime, stat.st_mtime_nsec),
        contents: String::new(),
        allocated: u64::try_from(stat.st_blocks).unwrap_or(0) * 512,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A layer, its stored copy and the list.
    fn stored() -> (tempfile::TempDir, Stored) {
        let scratch = tempfile::tempdir().unwrap();
        let at = |path: &str| scratch.path().join(path);
        std::fs::create_dir_all(at("upper/etc/a b")).unwrap();
        std::fs::create_dir(at("tree")).unwrap();
        std::fs::write(at("upper/etc/a b/file\tname"), "text").unwrap();
        symlink("/nowhere", at("upper/etc/link")).unwrap();
        let done = store(&at("upper"), &at("tree"), &at("list")).unwrap();
        (scratch, done)
    }

    #[test]
    fn a_stored_tree_is_whole_until_something_changes() {
        type Change = fn(&Path);
        let changes: [(&str, Change); 6] = [
            ("", |_| {}),
            ("/etc/a b/file\\tname is not", |tree| {
                std::fs::write(tree.join("etc/a b/file\tname"), "longer text").unwrap();
            }),
            ("/etc is not", |tree| std::fs::write(tree.join("etc/new"), "").unwrap()),
            ("/ is not", |tree| std::fs::remove_dir_all(tree.join("etc")).unwrap()),
            ("it is gone", |tree| std::fs::remove_dir_all(tree).unwrap()),
            ("its list is damaged", |tree| std::fs::write(tree.with_file_name("list"), "x").unwrap()),
        ];
        for (expected, change) in changes {
            let (scratch, done) = stored();
            let (tree, list) = (scratch.path().join("tree"), scratch.path().join("list"));
            change(&tree);
            let found = first_damage(&tree, &list, &done.list_digest, Scrutiny::Quick).unwrap();
            let found = found.unwrap_or_default();
            assert!(found.starts_with(expected) && found.is_empty() == expected.is_empty(), "{found}");
        }
    }

    #[test]
    fn contents_that_kept_size_and_time_are_found_by_a_thorough_look() {
        let (scratch, done) = stored();
        let (tree, list) = (scratch.path().join("tree"), scratch.path().join("list"));
        let file = tree.join("etc/a b/file\tname");
        let parent = file.parent().unwrap().metadata().unwrap().modified().unwrap();
        let modified = file.metadata().unwrap().modified().unwrap();
        std::fs::write(&file, "TEXT").unwrap();
        File::open(&file).unwrap().set_modified(modified).unwrap();
        File::open(file.parent().unwrap()).unwrap().set_modified(parent).unwrap();
        let look = |scrutiny| first_damage(&tree, &list, &done.list_digest, scrutiny).unwrap();
        assert_eq!(look(Scrutiny::Quick), None);
        assert_eq!(look(Scrutiny::Thorough).unwrap(), "/etc/a b/file\\tname is not what was stored");
    }

    #[test]
    fn times_are_no_part_of_a_digest() {
        let (scratch, _) = stored();
        let tree = scratch.path().join("tree");
        let before = digest(&tree).unwrap();
        File::open(tree.join("etc")).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(digest(&tree).unwrap(), before);
        std::fs::write(tree.join("etc/new"), "").unwrap();
        assert_ne!(digest(&tree).unwrap(), before);
    }
}
