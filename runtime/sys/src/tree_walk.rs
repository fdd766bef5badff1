//! Owns the careful ways through a directory tree: by descriptor, never along a symbolic link, never across a mount.
//! Must not know whose tree it is. Called by `copy_tree`, `target_files` and `work_dir`; the engine asks for sizes.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::{AtFlags, CWD, Dir, FileType, IFlags, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

/// Directories deeper than this below the start are refused (or, when removing, moved up first): every level costs a
/// descriptor, of which a process has 1024.
pub(crate) const DEEPEST: usize = 200;

/// Opens the directory `name` in `parent` for reading. `EXDEV` when something is mounted on it, `ENOTDIR` or `ELOOP`
/// when it is not a directory itself.
pub(crate) fn open_dir(parent: impl AsFd, name: &CStr) -> Result<OwnedFd, Errno> {
    rustix::fs::openat2(
        parent,
        name,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS,
    )
}

/// Opens the directory at `path` where a walk starts.
pub(crate) fn open_start(path: &Path) -> Result<OwnedFd> {
    rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .with_context(|| path.display().to_string())
}

/// The entries of an open directory but `.` and `..`, sorted bytewise, with what the directory says they are.
pub(crate) fn sorted_entries(dir: impl AsFd) -> Result<Vec<(CString, FileType)>, Errno> {
    let mut entries = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            entries.push((name.to_owned(), entry.file_type()));
        }
    }
    entries.sort_unstable_by(|left, right| left.0.cmp(&right.0));
    Ok(entries)
}

/// `lstat` of an entry.
pub(crate) fn stat_entry(dir: impl AsFd, name: &CStr) -> Result<Stat, Errno> {
    rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
}

/// Appends an entry's name to a path that is only shown to people.
pub(crate) fn shown(dir: &Path, name: &CStr) -> PathBuf {
    dir.join(name.to_string_lossy().as_ref())
}

/// What a tree occupies, as `du -x` counts: hard links once, mounts below it not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Allocated bytes.
    pub bytes: u64,
    /// Inodes, the top directory's included.
    pub inodes: u64,
}

impl Usage {
    /// Allocated KiB, rounded up as du does.
    pub fn kib(&self) -> u64 {
        self.bytes.div_ceil(1024)
    }
}

/// What the tree at `root` occupies.
///
/// # Errors
/// When a directory cannot be read.
pub fn tree_usage(root: &Path) -> Result<Usage> {
    let mut usage = Usage::default();
    walk_tree(root, &mut |entry| {
        usage.bytes += entry.bytes;
        usage.inodes += 1;
        Ok(())
    })?;
    Ok(usage)
}

/// An entry of a tree, as a walk meets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its path below the start, without a slash in front; empty for the start itself.
    pub path: &'a [u8],
    /// Directories between it and the start.
    pub depth: usize,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Allocated bytes, of a directory without what is in it.
    pub bytes: u64,
}

/// Calls `visit` for every inode of the tree at `root`, sorted, a directory before what is in it. Of hard links the first that is met
/// counts; mounts are not entered and not told of.
///
/// # Errors
/// Those of `visit`, which end the walk, and when a directory cannot be read.
pub fn walk_tree(root: &Path, visit: &mut dyn FnMut(&Entry<'_>) -> Result<()>) -> Result<()> {
    let start = open_start(root)?;
    let stat = rustix::fs::fstat(&start).with_context(|| root.display().to_string())?;
    visit(&Entry { path: b"", depth: 0, is_dir: true, bytes: blocks_to_bytes(&stat) })?;
    let mut walk = Walk { visit, path: Vec::new(), linked: HashSet::new() };
    walk.descend(start.as_fd(), 0).with_context(|| root.display().to_string())
}

struct Walk<'a> {
    visit: &'a mut dyn FnMut(&Entry<'_>) -> Result<()>,
    path: Vec<u8>,
    linked: HashSet<(u64, u64)>,
}

impl Walk<'_> {
    fn descend(&mut self, dir: BorrowedFd<'_>, depth: usize) -> Result<()> {
        if depth > DEEPEST {
            bail!("{}: more than {DEEPEST} directories deep", self.shown());
        }
        let above = self.path.len();
        for (name, _) in sorted_entries(dir).with_context(|| self.shown())? {
            if above > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name.to_bytes());
            self.enter(dir, &name, depth)?;
            self.path.truncate(above);
        }
        Ok(())
    }

    fn enter(&mut self, dir: BorrowedFd<'_>, name: &CStr, depth: usize) -> Result<()> {
        let stat = stat_entry(dir, name).with_context(|| self.shown())?;
        let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let child = match is_dir.then(|| open_dir(dir, name)) {
            Some(Ok(child)) => Some(child),
            // Something is mounted there: what it covers cannot be seen and what it shows is not ours.
            Some(Err(Errno::XDEV)) => return Ok(()),
            Some(Err(errno)) => return Err(errno).with_context(|| self.shown()),
            None if stat.st_nlink > 1 && !self.linked.insert((stat.st_dev, stat.st_ino)) => return Ok(()),
            None => None,
        };
        (self.visit)(&Entry { path: &self.path, depth, is_dir, bytes: blocks_to_bytes(&stat) })?;
        child.map_or(Ok(()), |child| self.descend(child.as_fd(), depth + 1))
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.path).into_owned()
    }
}

/// What each entry of a tree occupies, a directory with all that is in it.
///
/// Gives entries of at least `least` bytes with their paths below `root`, smallest first, and `root` itself as `.`.
///
/// # Errors
/// When a directory cannot be read.
pub fn entry_sizes(root: &Path, least: u64) -> Result<Vec<(u64, PathBuf)>> {
    let start = open_start(root)?;
    let stat = rustix::fs::fstat(&start).with_context(|| root.display().to_string())?;
    let mut sizes = Sizes { least, found: Vec::new(), linked: HashSet::new() };
    let all = sizes.add(start.as_fd(), Path::new(""), 0)? + blocks_to_bytes(&stat);
    if all >= least {
        sizes.found.push((all, ".".into()));
    }
    sizes.found.sort();
    Ok(sizes.found)
}

struct Sizes {
    least: u64,
    found: Vec<(u64, PathBuf)>,
    linked: HashSet<(u64, u64)>,
}

impl Sizes {
    /// Bytes of all that is in `dir`; a hard link counts where it is met first.
    fn add(&mut self, dir: BorrowedFd<'_>, path: &Path, depth: usize) -> Result<u64> {
        if depth > DEEPEST {
            bail!("{}: more than {DEEPEST} directories deep", path.display());
        }
        let mut all = 0;
        for (name, _) in sorted_entries(dir).with_context(|| path.display().to_string())? {
            let below = shown(path, &name);
            let what = || below.display().to_string();
            let stat = stat_entry(dir, &name).with_context(what)?;
            let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            if !is_dir && stat.st_nlink > 1 && !self.linked.insert((stat.st_dev, stat.st_ino)) {
                continue;
            }
            let mut bytes = blocks_to_bytes(&stat);
            if is_dir {
                match open_dir(dir, &name) {
                    Ok(child) => bytes += self.add(child.as_fd(), &below, depth + 1)?,
                    Err(Errno::XDEV) => continue,
                    Err(errno) => return Err(errno).with_context(what),
                }
            }
            if bytes >= self.least {
                self.found.push((bytes, below));
            }
            all += bytes;
        }
        Ok(all)
    }
}

fn blocks_to_bytes(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0) * 512
}

/// Removes the entry `name` of `parent` with everything in it. `path` is for messages.
///
/// # Errors
/// When something is mounted below it (everything before that is gone by then) or an entry cannot be removed.
pub(crate) fn remove_tree(parent: BorrowedFd<'_>, name: &CStr, path: &Path) -> Result<()> {
    let mut moved_up = Vec::new();
    remove_entry(parent, name, path, &mut Top { parent, moved_up: &mut moved_up }, 0)?;
    while let Some(deep) = moved_up.pop() {
        remove_entry(parent, &deep, path, &mut Top { parent, moved_up: &mut moved_up }, 0)?;
    }
    Ok(())
}

/// Where a removal started, and what was too deep and is moved there to be removed after the rest: so the number of open
/// descriptors stays bounded, however deep a tree somebody has made.
struct Top<'a> {
    parent: BorrowedFd<'a>,
    moved_up: &'a mut Vec<CString>,
}

fn remove_entry(
    parent: BorrowedFd<'_>,
    name: &CStr,
    path: &Path,
    top: &mut Top<'_>,
    depth: usize,
) -> Result<()> {
    let what = || format!("removing {}", path.display());
    let stat = stat_entry(parent, name).with_context(what)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return unlink(parent, name, AtFlags::empty()).with_context(what);
    }
    if depth > DEEPEST {
        let moved =
            CString::new(format!(".dibw-deep-{}-{}", stat.st_dev, stat.st_ino)).expect("numbers have no NUL");
        rustix::fs::renameat(parent, name, top.parent, &moved).with_context(what)?;
        top.moved_up.push(moved);
        return Ok(());
    }
    match open_dir(parent, name) {
        Ok(dir) => {
            for (child, _) in sorted_entries(&dir).with_context(what)? {
                remove_entry(dir.as_fd(), &child, &shown(path, &child), top, depth + 1)?;
            }
        }
        Err(Errno::XDEV) => bail!("{}: something is mounted there", what()),
        Err(errno) => return Err(errno).with_context(what),
    }
    unlink(parent, name, AtFlags::REMOVEDIR).with_context(what)
}

/// Unlinks, taking away the immutable and append-only flags (`chattr +i`) where they are in the way.
fn unlink(parent: BorrowedFd<'_>, name: &CStr, flags: AtFlags) -> Result<(), Errno> {
    match rustix::fs::unlinkat(parent, name, flags) {
        Err(Errno::PERM) => {
            unlock(parent.as_fd())?;
            let flags_of_entry = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let kind = FileType::from_raw_mode(stat_entry(parent, name)?.st_mode);
            if matches!(kind, FileType::RegularFile | FileType::Directory) {
                unlock(rustix::fs::openat(parent, name, flags_of_entry, Mode::empty())?.as_fd())?;
            }
            rustix::fs::unlinkat(parent, name, flags)
        }
        done => done,
    }
}

fn unlock(file: BorrowedFd<'_>) -> Result<(), Errno> {
    let locks = IFlags::IMMUTABLE | IFlags::APPEND;
    let flags = match rustix::fs::ioctl_getflags(file) {
        Ok(flags) => flags,
        // A file system without such flags refused for another reason, which the second unlink will tell.
        Err(_) => return Ok(()),
    };
    if flags.intersects(locks) {
        // Through an O_PATH descriptor this cannot be asked; `file` is always open for reading.
        rustix::fs::ioctl_setflags(file, flags - locks)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_counted_once_and_directories_with_what_is_in_them() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        std::fs::create_dir_all(at("a/b")).unwrap();
        std::fs::write(at("a/b/large"), vec![1; 1 << 20]).unwrap();
        std::fs::hard_link(at("a/b/large"), at("link")).unwrap();
        std::fs::write(at("small"), "x").unwrap();
        std::os::unix::fs::symlink("/", at("away")).unwrap();
        let sizes = entry_sizes(root.path(), 1 << 20).unwrap();
        let paths: Vec<_> = sizes.iter().map(|(_, path)| path.display().to_string()).collect();
        assert_eq!(paths, ["a/b/large", "a/b", "a", "."]);
        let all = entry_sizes(root.path(), 0).unwrap();
        assert_eq!(all.len(), 6, "{all:?}");
        assert_eq!(all.last().unwrap().0, tree_usage(root.path()).unwrap().bytes);
    }

    #[test]
    fn a_walk_tells_of_directories_first_and_of_hard_links_once() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        std::fs::create_dir_all(at("a/b")).unwrap();
        std::fs::write(at("a/b/large"), vec![1; 1 << 20]).unwrap();
        std::fs::hard_link(at("a/b/large"), at("link")).unwrap();
        let mut seen = Vec::new();
        walk_tree(root.path(), &mut |entry| {
            seen.push((String::from_utf8(entry.path.to_vec()).unwrap(), entry.depth, entry.is_dir));
            Ok(())
        })
        .unwrap();
        let expected = [("", 0, true), ("a", 0, true), ("a/b", 1, true), ("a/b/large", 2, false)];
        assert_eq!(seen, expected.map(|(path, depth, is_dir)| (path.to_owned(), depth, is_dir)));
        let mut left = 2;
        let stopped = walk_tree(root.path(), &mut |_| {
            left -= 1;
            if left == 0 { bail!("enough") } else { Ok(()) }
        });
        assert!(stopped.is_err() && left == 0);
    }
}
