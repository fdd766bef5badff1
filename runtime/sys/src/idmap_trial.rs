//! Owns trying for real whether overlay layers on an idmapped mount work in a given directory.
//! Must not be used to build: the sandbox has its own way of doing this. Called by `probe`.
//!
//! The trial runs in a thread of its own with a private mount namespace, which the kernel takes down with the thread;
//! ids and capabilities of a thread are its own too, as long as the system calls are made without the C library.
#![expect(unsafe_code, reason = "fork, mount_setattr and per-thread ids have no safe wrapper")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags};
use rustix::process::{Pid, Signal, WaitOptions};
use rustix::thread::UnshareFlags;

use crate::work_dir;

/// What the names of trial directories begin with.
pub(crate) const TRIAL: &str = ".dibw-trial-";

/// Where root of the trial's user namespace lies outside. Any range that is not 0 will do.
const MAPPED_ROOT: u32 = 100_000;
const IDS: u32 = 65_536;

/// A user namespace in which 0 to 65535 are 100000 to 165535 outside.
pub(crate) fn mapped_namespace() -> Result<OwnedFd> {
    let (mut ready, tell_ready) = pipe()?;
    let (wait_end, end) = pipe()?;
    // SAFETY: the child makes async-signal-safe system calls only, allocates nothing and never returns.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: as above; the descriptors are open, since the child has copies of all of them.
        unsafe {
            libc::close(end.as_raw_fd());
            let answer = u8::from(libc::unshare(libc::CLONE_NEWUSER) == 0);
            libc::write(tell_ready.as_raw_fd(), (&raw const answer).cast(), 1);
            let mut byte = 0u8;
            libc::read(wait_end.as_raw_fd(), (&raw mut byte).cast(), 1);
            libc::_exit(0);
        }
    }
    let child = Pid::from_raw(pid).context("starting a process")?;
    drop((tell_ready, wait_end));
    let mut answer = [0];
    let namespace = ready.read_exact(&mut answer).context("user namespace").and_then(|()| {
        ensure!(answer == [1], "user namespaces are not allowed here");
        let process = PathBuf::from(format!("/proc/{pid}"));
        for map in ["uid_map", "gid_map"] {
            let path = process.join(map);
            std::fs::write(&path, format!("0 {MAPPED_ROOT} {IDS}\n"))
                .with_context(|| path.display().to_string())?;
        }
        let path = process.join("ns/user");
        Ok(OwnedFd::from(File::open(&path).with_context(|| path.display().to_string())?))
    });
    drop(end);
    if let Err(errno) = rustix::process::kill_process(child, Signal::KILL) {
        tracing::debug!("trial process has ended already: {errno}");
    }
    match rustix::process::waitpid(Some(child), WaitOptions::empty()) {
        // A supervisor that collects every child may have been first.
        Ok(_) | Err(Errno::CHILD) => {}
        Err(errno) => tracing::debug!("waiting for the trial process: {errno}"),
    }
    namespace
}

fn pipe() -> Result<(File, File)> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).context("pipe")?;
    Ok((read.into(), write.into()))
}

/// Maps the ids of a detached mount as `namespace` does.
pub(crate) fn idmap_mount(mount: BorrowedFd<'_>, namespace: BorrowedFd<'_>) -> Result<(), Errno> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::try_from(namespace.as_raw_fd()).expect("an open descriptor is not negative"),
    };
    // SAFETY: the path is a C string, the structure is whole and its size is given; both outlive the call.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if answer == 0 { Ok(()) } else { Err(last_errno()) }
}

/// See [`crate::probe::idmapped_layers`].
pub(crate) fn try_layers(dir: &Path) -> Result<()> {
    let namespace = mapped_namespace()?;
    let (scratch, lock) = make_scratch(dir)?;
    let tried = std::thread::scope(|scope| {
        let trial = scope.spawn(|| in_private_namespace(&scratch, namespace.as_fd()));
        trial.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the trial panicked")))
    });
    // Its mounts went with the thread: here these are plain directories.
    let removed = remove_scratch(&scratch);
    drop(lock);
    tried.and(removed)
}

/// Locked: one that nobody holds was left by somebody killed, and `work_dir` removes it.
fn make_scratch(dir: &Path) -> Result<(PathBuf, File)> {
    for number in 0..1000 {
        let scratch = dir.join(format!("{TRIAL}{}-{number}", std::process::id()));
        match std::fs::create_dir(&scratch) {
            Ok(()) => {
                let Some(lock) = work_dir::lock(&scratch)? else { continue };
                for name in ["layers", "merged", "layers/lower", "layers/upper", "layers/work"] {
                    let path = scratch.join(name);
                    std::fs::create_dir(&path).with_context(|| path.display().to_string())?;
                }
                return Ok((scratch, lock));
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| scratch.display().to_string()),
        }
    }
    bail!("{}: no free name for a trial", dir.display())
}

fn remove_scratch(scratch: &Path) -> Result<()> {
    let parent = scratch.parent().context("the trial directory has a parent")?;
    let parent = File::open(parent).with_context(|| parent.display().to_string())?;
    let name = scratch.file_name().context("the trial directory has a name")?;
    let name = std::ffi::CString::new(name.as_encoded_bytes()).context("a file name has no NUL")?;
    crate::tree_walk::remove_tree(parent.as_fd(), &name, scratch)
}

fn in_private_namespace(scratch: &Path, namespace: BorrowedFd<'_>) -> Result<()> {
    let layers = scratch.join("layers");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // Opened before anything is mounted over it: shows what really is on the disk.
    let on_disk = rustix::fs::open(layers.join("upper"), flags, Mode::empty()).context("upper directory")?;
    // SAFETY: this thread was made for the trial and shares no open file offsets or working directory that matter.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS) }
        .context("mount namespace")?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).context("private mounts")?;
    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = rustix::mount::open_tree(CWD, &layers, clone).context("open_tree")?;
    idmap_mount(mount.as_fd(), namespace).context("this file system cannot map ids")?;
    rustix::mount::move_mount(&mount, "", CWD, &layers, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .context("move_mount")?;
    become_mapped_root()?;
    let of = |name: &str| layers.join(name).display().to_string();
    let options = format!("lowerdir={},upperdir={},workdir={}", of("lower"), of("upper"), of("work"));
    let options = std::ffi::CString::new(options).context("a path has no NUL")?;
    let merged = scratch.join("merged");
    rustix::mount::mount("overlay", &merged, "overlay", MountFlags::empty(), &*options).context("overlay")?;
    File::create(merged.join("file"))
        .and_then(|mut file| file.write_all(b"x"))
        .context("writing to the overlay")?;
    let stat = rustix::fs::statat(&on_disk, "file", AtFlags::SYMLINK_NOFOLLOW).context("written file")?;
    ensure!(
        (stat.st_uid, stat.st_gid) == (0, 0),
        "root of the namespace is {}:{} on disk",
        stat.st_uid,
        stat.st_gid
    );
    rustix::mount::unmount(&merged, rustix::mount::UnmountFlags::empty())
        .context("unmounting the overlay")?;
    Ok(())
}

/// Makes this thread, and no other, the mapped root with all its capabilities: the overlay works with the ids and
/// rights of whoever mounts it (SANDBOX.md 3.3, fact 6).
fn become_mapped_root() -> Result<()> {
    /// `SECBIT_NO_SETUID_FIXUP` of `linux/securebits.h`: keep the capabilities when uid 0 is left.
    const KEEP_CAPABILITIES: libc::c_ulong = 1 << 2;
    // SAFETY: plain numbers; made without the C library, which would change all threads.
    let answers = unsafe {
        [
            libc::syscall(libc::SYS_prctl, libc::PR_SET_SECUREBITS, KEEP_CAPABILITIES, 0, 0, 0),
            libc::syscall(libc::SYS_setresgid, MAPPED_ROOT, MAPPED_ROOT, MAPPED_ROOT),
            libc::syscall(libc::SYS_setresuid, MAPPED_ROOT, MAPPED_ROOT, MAPPED_ROOT),
        ]
    };
    if answers == [0, 0, 0] { Ok(()) } else { Err(last_errno()).context("becoming the mapped root") }
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
