//! Owns answering the kernel: a tree as a read-only FUSE file system, in which each question is remembered.
//! Must not decide what counts as read beyond that. Mounted by `observed`.
//!
//! What is at rest need not be asked twice: entries (missing ones too), attributes, links, listings and pages stay in the
//! kernel. `open` and `opendir` are answered with "not implemented" once, after which the kernel opens files by itself and
//! only asks for what it has not read yet. Listings never come with attributes (no `readdirplus`): they would hide which
//! entries somebody looked at. Nothing here writes: the mount is read-only, and the kernel refuses by itself.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use fuser::{
    FileAttr, FileHandle, Filesystem, Generation, INodeNo, InitFlags, KernelConfig, LockOwner, OpenFlags,
    ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen,
    ReplyStatfs, ReplyXattr, Request,
};
use rustix::fs::{FileType, SeekFrom, Stat};
use rustix::io::Errno;

use super::below::{Below, Listed};
use super::nodes::Nodes;
use super::owners::Shift;
use super::raw_name::RawName;
use super::reads::Asked;

/// How long the kernel may believe an answer: longer than any build.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);
/// How many files are held open for reading. The kernel does not say when it is done with one.
const HELD_OPEN: usize = 64;

/// A tree, and what was asked about it.
#[derive(Debug)]
pub(super) struct View {
    pub tree: Below,
    shift: Shift,
    nodes: Mutex<Nodes>,
    open_files: Mutex<VecDeque<(u64, Arc<OwnedFd>)>>,
}

/// What fuser takes.
pub(super) struct Server(pub Arc<View>);

impl View {
    pub fn new(tree: Below, shift: Shift) -> Result<Self, Errno> {
        let root = rustix::fs::fstat(tree.root())?;
        let nodes = Mutex::new(Nodes::new(root));
        Ok(Self { tree, shift, nodes, open_files: Mutex::default() })
    }

    /// See [`Nodes::take_asked`].
    pub fn take_asked(&self) -> Option<Vec<(RawName, Asked)>> {
        self.nodes().take_asked()
    }

    /// None of the changes under the lock can be cut in two, so a panic elsewhere does not matter.
    fn nodes(&self) -> MutexGuard<'_, Nodes> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, node: INodeNo) -> Result<RawName, Errno> {
        self.nodes().path(node.0).cloned()
    }

    fn ask(&self, node: INodeNo, question: impl Fn(&mut Asked)) {
        self.nodes().ask(node.0, question);
    }

    fn lookup(&self, parent: INodeNo, name: &OsStr) -> Result<FileAttr, Errno> {
        let path = self.path(parent)?.join(name.as_bytes());
        match self.tree.entry(&path).and_then(|entry| entry.stat()) {
            Ok(stat) => {
                let number = self.nodes().found(path, stat);
                Ok(self.attributes(number, &stat))
            }
            Err(Errno::NOENT) => {
                self.nodes().missed(path);
                Ok(nothing())
            }
            Err(Errno::NAMETOOLONG) => Err(Errno::NAMETOOLONG),
            Err(errno) => {
                // To be looked at again at the end, which fails then.
                self.nodes().missed(path);
                Err(errno)
            }
        }
    }

    fn attributes(&self, number: u64, stat: &Stat) -> FileAttr {
        let time = |seconds: i64, nanoseconds: u64| {
            let since = Duration::from_secs(seconds.unsigned_abs());
            let whole = match seconds < 0 {
                true => SystemTime::UNIX_EPOCH.checked_sub(since),
                false => SystemTime::UNIX_EPOCH.checked_add(since),
            };
            let exact = whole.and_then(|whole| whole.checked_add(Duration::from_nanos(nanoseconds)));
            exact.unwrap_or(SystemTime::UNIX_EPOCH)
        };
        FileAttr {
            ino: INodeNo(number),
            size: stat.st_size.cast_unsigned(),
            blocks: stat.st_blocks.cast_unsigned(),
            atime: time(stat.st_atime, stat.st_atime_nsec),
            mtime: time(stat.st_mtime, stat.st_mtime_nsec),
            ctime: time(stat.st_ctime, stat.st_ctime_nsec),
            kind: kind(FileType::from_raw_mode(stat.st_mode)),
            perm: (stat.st_mode & 0o7777) as u16,
            nlink: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX),
            uid: self.shift.shown(stat.st_uid),
            gid: self.shift.shown(stat.st_gid),
            rdev: kernel_device(stat.st_rdev),
            blksize: u32::try_from(stat.st_blksize).unwrap_or(4096),
            ..nothing()
        }
    }

    fn read(&self, node: INodeNo, offset: u64, size: u32) -> Result<Vec<u8>, Errno> {
        let file = self.file(node)?;
        let mut bytes = vec![0; size as usize];
        let mut filled = 0;
        while filled < bytes.len() {
            let place = offset + filled as u64;
            match rustix::io::retry_on_intr(|| rustix::io::pread(&file, &mut bytes[filled..], place))? {
                0 => break,
                length => filled += length,
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    /// The open file of a node whose contents are asked for.
    fn file(&self, node: INodeNo) -> Result<Arc<OwnedFd>, Errno> {
        self.ask(node, |asked| asked.contents = true);
        let held = || self.open_files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, file)) = held().iter().find(|(number, _)| *number == node.0) {
            return Ok(file.clone());
        }
        let file = Arc::new(self.tree.file(&self.path(node)?)?);
        let mut held = held();
        held.truncate(HELD_OPEN - 1);
        held.push_front((node.0, file.clone()));
        Ok(file)
    }

    fn listing(&self, node: INodeNo) -> Result<Arc<Vec<Listed>>, Errno> {
        self.ask(node, |asked| asked.listing = true);
        if let Some(listing) = self.nodes().listing(node.0)? {
            return Ok(listing);
        }
        let listing = Arc::new(self.tree.listing(&self.path(node)?)?);
        self.nodes().keep_listing(node.0, &listing);
        Ok(listing)
    }

    fn attribute(&self, node: INodeNo, name: &OsStr) -> Result<Vec<u8>, Errno> {
        let path = self.path(node)?;
        let name = RawName::from(name.as_bytes());
        if name.is_of_overlay() {
            return Err(Errno::NODATA);
        }
        self.nodes().ask_attribute(node.0, &name);
        let value = self.tree.entry(&path)?.attribute(&name)?.ok_or(Errno::NODATA)?;
        Ok(self.shift.value(name.bytes(), value))
    }

    fn attribute_names(&self, node: INodeNo) -> Result<Vec<u8>, Errno> {
        let path = self.path(node)?;
        self.ask(node, |asked| asked.attribute_names = true);
        let names = self.tree.entry(&path)?.attribute_names()?;
        Ok(names.iter().flat_map(|name| name.bytes().iter().chain(&[0])).copied().collect())
    }
}

impl Filesystem for Server {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // No file handles: layers written over this view must have no tie to it.
        let wanted = InitFlags::FUSE_POSIX_ACL
            | InitFlags::FUSE_CACHE_SYMLINKS
            | InitFlags::FUSE_PARALLEL_DIROPS
            | InitFlags::FUSE_NO_EXPORT_SUPPORT;
        let offered = wanted & config.capabilities();
        config.add_capabilities(offered).map_err(|_| io::ErrorKind::Unsupported.into())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.0.lookup(parent, name) {
            Ok(attributes) => reply.entry(&FOREVER, &attributes, Generation(0)),
            Err(errno) => reply.error(answer(errno)),
        }
    }

    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let stat = self.0.nodes().stat(node.0).copied();
        match stat {
            Ok(stat) => reply.attr(&FOREVER, &self.0.attributes(node.0, &stat)),
            Err(errno) => reply.error(answer(errno)),
        }
    }

    fn readlink(&self, _: &Request, node: INodeNo, reply: ReplyData) {
        let text = self.0.path(node).and_then(|path| self.0.tree.entry(&path)?.link_text());
        match text {
            Ok(text) => reply.data(text.bytes()),
            Err(errno) => reply.error(answer(errno)),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.error(fuser::Errno::ENOSYS);
    }

    fn read(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.0.read(node, offset, size) {
            Ok(bytes) => reply.data(&bytes),
            Err(errno) => reply.error(answer(errno)),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.error(fuser::Errno::ENOSYS);
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.error(fuser::Errno::ENOSYS);
    }

    fn readdir(&self, _: &Request, node: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let listing = match self.0.listing(node) {
            Ok(listing) => listing,
            Err(errno) => return reply.error(answer(errno)),
        };
        let dots = [&b"."[..], b".."].map(|name| (name, FileType::Directory, node.0));
        let entries = listing.iter().map(|entry| (entry.name.to_bytes(), entry.kind, entry.inode));
        for (place, (name, kind_of, inode)) in (1..).zip(dots.into_iter().chain(entries)) {
            if place > offset && reply.add(INodeNo(inode), place, kind(kind_of), OsStr::from_bytes(name)) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        match rustix::fs::fstatfs(self.0.tree.root()) {
            Ok(all) => reply.statfs(
                all.f_blocks,
                all.f_bfree,
                all.f_bavail,
                all.f_files,
                all.f_ffree,
                u32::try_from(all.f_bsize).unwrap_or(4096),
                u32::try_from(all.f_namelen).unwrap_or(255),
                u32::try_from(all.f_frsize).unwrap_or(4096),
            ),
            Err(errno) => reply.error(answer(errno)),
        }
    }

    fn getxattr(&self, _: &Request, node: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        give(self.0.attribute(node, name), size, reply);
    }

    fn listxattr(&self, _: &Request, node: INodeNo, size: u32, reply: ReplyXattr) {
        give(self.0.attribute_names(node), size, reply);
    }

    fn lseek(&self, _: &Request, node: INodeNo, _: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        let place = match whence {
            libc::SEEK_DATA => SeekFrom::Data(offset.cast_unsigned()),
            libc::SEEK_HOLE => SeekFrom::Hole(offset.cast_unsigned()),
            _ => return reply.error(fuser::Errno::EINVAL),
        };
        match self.0.file(node).and_then(|file| rustix::fs::seek(&file, place)) {
            Ok(place) => reply.offset(place.cast_signed()),
            Err(errno) => reply.error(answer(errno)),
        }
    }

    fn ioctl(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: fuser::IoctlFlags,
        _: u32,
        _: &[u8],
        _: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(fuser::Errno::ENOTTY);
    }
}

/// The protocol of both calls for extended attributes: the size first, then the bytes.
fn give(bytes: Result<Vec<u8>, Errno>, room: u32, reply: ReplyXattr) {
    match (bytes, room as usize) {
        (Err(errno), _) => reply.error(answer(errno)),
        (Ok(bytes), 0) => reply.size(u32::try_from(bytes.len()).unwrap_or(u32::MAX)),
        (Ok(bytes), room) if bytes.len() > room => reply.error(fuser::Errno::ERANGE),
        (Ok(bytes), _) => reply.data(&bytes),
    }
}

fn answer(errno: Errno) -> fuser::Errno {
    fuser::Errno::from_i32(errno.raw_os_error())
}

/// The answer that there is no such entry and that this may be remembered: node 0.
fn nothing() -> FileAttr {
    let never = SystemTime::UNIX_EPOCH;
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: never,
        mtime: never,
        ctime: never,
        crtime: never,
        kind: fuser::FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    }
}

fn kind(kind: FileType) -> fuser::FileType {
    match kind {
        FileType::Directory => fuser::FileType::Directory,
        FileType::Symlink => fuser::FileType::Symlink,
        FileType::Fifo => fuser::FileType::NamedPipe,
        FileType::Socket => fuser::FileType::Socket,
        FileType::CharacterDevice => fuser::FileType::CharDevice,
        FileType::BlockDevice => fuser::FileType::BlockDevice,
        FileType::RegularFile | FileType::Unknown => fuser::FileType::RegularFile,
    }
}

/// `new_encode_dev` of the kernel, which is what travels.
fn kernel_device(device: u64) -> u32 {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}
