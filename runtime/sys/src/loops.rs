//! Owns loop devices: a window of a file (offset and size) as a block device that detaches itself.
//! Must not know about partitions or file systems, and never scans for partitions. Called by the engine's disk steps.
//!
//! Every device is auto-clearing: when the last user closes it (our process dying included) the kernel detaches it. Only
//! [`LoopDevice::keep`] ends that, for devices that another process will detach.
//! Numbers and layouts: `linux/loop.h`.
#![expect(unsafe_code, reason = "the loop driver is driven by ioctls")]

use std::fs::{File, OpenOptions};
use std::mem::zeroed;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::busy::{Held, held_by};

const CONTROL: &str = "/dev/loop-control";
const LOOP_CLR_FD: u32 = 0x4C01;
const LOOP_SET_STATUS64: u32 = 0x4C04;
const LOOP_GET_STATUS64: u32 = 0x4C05;
const LOOP_CONFIGURE: u32 = 0x4C0A;
const LOOP_CTL_GET_FREE: u32 = 0x4C82;
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
/// Major number of loop devices (`linux/major.h`).
const LOOP_MAJOR: u32 = 7;

/// Another process may take the number that the kernel just named; each loss of that race costs one try.
const ATTACH_TRIES: u32 = 64;
/// How long `detach` waits for the last user to let go.
const DETACH_WAIT: Duration = Duration::from_secs(10);

/// Whether the device, or a mount, may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reads only.
    ReadOnly,
    /// Reads and writes; the backing file must be open for both.
    ReadWrite,
}

/// `struct loop_info64`.
#[repr(C)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config`.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

/// What the kernel says a loop device shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Backing {
    device: u64,
    inode: u64,
    offset: u64,
}

/// A loop device and what it shows, to find it again after the process that made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoopIdentity {
    path: PathBuf,
    backing: Backing,
}

impl LoopIdentity {
    /// The device, if it still shows what it did; none when it was detached since, or its number belongs to somebody else now.
    ///
    /// # Errors
    /// When the device can't be asked.
    pub fn find(&self) -> Result<Option<LoopDevice>> {
        if !shows(&self.path, self.backing)? {
            return Ok(None);
        }
        let what = || self.path.display().to_string();
        let device = OpenOptions::new().read(true).write(true).open(&self.path).with_context(what)?;
        let found = status(&device).with_context(what)? == Some(self.backing);
        Ok(found.then(|| LoopDevice { device, path: self.path.clone(), backing: self.backing }))
    }
}

/// An attached loop device. Dropping it lets the kernel detach it once nobody else uses it; [`LoopDevice::detach`] also
/// waits for that and reports errors.
#[derive(Debug)]
pub struct LoopDevice {
    device: File,
    path: PathBuf,
    backing: Backing,
}

impl LoopDevice {
    /// Attaches the `size_limit` bytes of `file` from byte `offset` (a limit of 0: up to the end of the file) as a block
    /// device with logical sectors of `sector_size` bytes. The file may be unlinked or `O_TMPFILE`.
    ///
    /// # Errors
    /// When the window is not whole sectors or not inside the file, the file is not open for writing though the device
    /// is to be, or no loop device can be had.
    pub fn attach(
        file: &File,
        offset: u64,
        size_limit: u64,
        sector_size: u32,
        access: Access,
    ) -> Result<LoopDevice> {
        check_window(file, offset, size_limit, sector_size)?;
        check_open_mode(file, access)?;
        let control = File::open(CONTROL)
            .with_context(|| format!("{CONTROL}: this kernel or container offers no loop devices"))?;
        for _ in 0..ATTACH_TRIES {
            // SAFETY: LOOP_CTL_GET_FREE takes no argument.
            let number = unsafe { ioctl(control.as_fd(), LOOP_CTL_GET_FREE, 0) }
                .with_context(|| format!("{CONTROL}: asking for a free loop device"))?;
            let (path, device) = open_device(number, access)?;
            match configure(&device, file, offset, size_limit, sector_size, access) {
                Ok(()) => {
                    let backing =
                        status(&device).with_context(|| format!("{}: reading its status", path.display()))?;
                    let backing =
                        backing.with_context(|| format!("{}: detached by someone else", path.display()))?;
                    tracing::debug!(device = %path.display(), offset, size_limit, sector_size, "loop attached");
                    return Ok(LoopDevice { device, path, backing });
                }
                Err(Errno::BUSY) => continue,
                Err(errno @ (Errno::NOTTY | Errno::INVAL)) => bail!(
                    "{}: LOOP_CONFIGURE: {errno} (sectors of {sector_size} bytes; needs Linux 5.8 or later)",
                    path.display()
                ),
                Err(errno) => {
                    return Err(errno).with_context(|| format!("{}: LOOP_CONFIGURE", path.display()));
                }
            }
        }
        bail!("no free loop device after {ATTACH_TRIES} tries: others keep taking them")
    }

    /// `/dev/loopN`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How to find it again.
    pub fn identity(&self) -> LoopIdentity {
        LoopIdentity { path: self.path.clone(), backing: self.backing }
    }

    /// A device that [`LoopDevice::keep`] left attached, by its path; none when it shows no part of `file` any more.
    ///
    /// # Errors
    /// When the device or the file can't be asked.
    pub fn of_file(path: &Path, file: &File) -> Result<Option<LoopDevice>> {
        let what = || path.display().to_string();
        let device = match OpenOptions::new().read(true).write(true).open(path) {
            Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::NOENT | Errno::NXIO)) => {
                return Ok(None);
            }
            device => device.with_context(what)?,
        };
        let meta = file.metadata().with_context(what)?;
        let shown = status(&device).with_context(what)?;
        let ours = |backing: &Backing| (backing.device, backing.inode) == (meta.dev(), meta.ino());
        Ok(shown.filter(ours).map(|backing| LoopDevice { device, path: path.to_owned(), backing }))
    }

    /// Leaves the device attached when this process ends.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn keep(self) -> Result<()> {
        let what = || format!("{}: keeping it attached", self.path.display());
        // SAFETY: all-zero bytes are a valid LoopInfo: it holds integers only.
        let mut info: LoopInfo = unsafe { zeroed() };
        // SAFETY: `info` is a whole, writable `struct loop_info64` that outlives the call.
        unsafe { ioctl(self.device.as_fd(), LOOP_GET_STATUS64, &raw mut info as usize) }
            .with_context(what)?;
        info.flags &= !LO_FLAGS_AUTOCLEAR;
        // SAFETY: `info` is a whole `struct loop_info64` that outlives the call.
        unsafe { ioctl(self.device.as_fd(), LOOP_SET_STATUS64, &raw const info as usize) }
            .map(drop)
            .with_context(what)
    }

    /// Writes what is cached, detaches the device, and returns once it really is free.
    ///
    /// # Errors
    /// When cached data cannot be written, or after 10 s when somebody still holds the device (who is named).
    pub fn detach(self) -> Result<()> {
        let LoopDevice { device, path, backing } = self;
        let number = device.metadata().with_context(|| path.display().to_string())?.rdev();
        // Errors of delayed writes (a full disk under a sparse image) would be lost at close.
        let written = device.sync_all().with_context(|| format!("{}: writing cached data", path.display()));
        // SAFETY: LOOP_CLR_FD takes no argument.
        match unsafe { ioctl(device.as_fd(), LOOP_CLR_FD, 0) } {
            Ok(_) | Err(Errno::NXIO) => {}
            Err(errno) => return Err(errno).with_context(|| format!("{}: LOOP_CLR_FD", path.display())),
        }
        drop(device);
        let deadline = Instant::now() + DETACH_WAIT;
        let mut pause = Duration::from_millis(1);
        while shows(&path, backing)? {
            if Instant::now() >= deadline {
                bail!(
                    "{}: still attached after {} s, {}",
                    path.display(),
                    DETACH_WAIT.as_secs(),
                    held_by(Held::BlockDevice(number))
                );
            }
            sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(100));
        }
        tracing::debug!(device = %path.display(), "loop detached");
        written
    }
}

/// The driver would silently cut what does not fit, so it is refused here.
fn check_window(file: &File, offset: u64, size_limit: u64, sector_size: u32) -> Result<()> {
    ensure!(
        matches!(sector_size, 512 | 4096),
        "loop device: sectors of {sector_size} bytes (512 or 4096 are possible)"
    );
    let length = file.metadata().context("loop device: size of the backing file")?.len();
    let sector = u64::from(sector_size);
    ensure!(
        offset.is_multiple_of(sector) && size_limit.is_multiple_of(sector),
        "loop device: offset {offset} and size {size_limit} must be multiples of the sector size {sector_size}"
    );
    ensure!(
        offset.checked_add(size_limit.max(sector)).is_some_and(|end| end <= length),
        "loop device: bytes {offset}+{size_limit} lie outside the backing file of {length} bytes"
    );
    Ok(())
}

/// Over a file that is open for reading only the driver would silently make a read-only device.
fn check_open_mode(file: &File, access: Access) -> Result<()> {
    let flags = rustix::fs::fcntl_getfl(file).context("loop device: open mode of the backing file")?;
    ensure!(
        access == Access::ReadOnly || flags.contains(OFlags::RDWR),
        "loop device: the backing file is not open for reading and writing"
    );
    Ok(())
}

fn open_device(number: u32, access: Access) -> Result<(PathBuf, File)> {
    let path = PathBuf::from(format!("/dev/loop{number}"));
    let mut options = OpenOptions::new();
    options.read(true).write(access == Access::ReadWrite).custom_flags(libc::O_NOFOLLOW);
    let device = match options.open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            // A container's /dev is often a tmpfs that the kernel does not fill.
            tracing::info!(device = %path.display(), "making the missing device node");
            let made = rustix::fs::mknodat(
                CWD,
                &path,
                FileType::BlockDevice,
                Mode::from_raw_mode(0o600),
                rustix::fs::makedev(LOOP_MAJOR, number),
            );
            match made {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => {
                    return Err(errno).with_context(|| format!("{}: making the node", path.display()));
                }
            }
            options.open(&path)
        }
        opened => opened,
    };
    let device = device.with_context(|| path.display().to_string())?;
    Ok((path, device))
}

fn configure(
    device: &File,
    file: &File,
    offset: u64,
    size_limit: u64,
    sector_size: u32,
    access: Access,
) -> Result<(), Errno> {
    // SAFETY: all-zero bytes are a valid LoopConfig: it holds integers only.
    let mut config: LoopConfig = unsafe { zeroed() };
    config.fd = file.as_raw_fd().cast_unsigned();
    config.block_size = sector_size;
    config.info.offset = offset;
    config.info.size_limit = size_limit;
    config.info.flags = LO_FLAGS_AUTOCLEAR;
    if access == Access::ReadOnly {
        config.info.flags |= LO_FLAGS_READ_ONLY;
    }
    // SAFETY: `config` is a whole `struct loop_config` that outlives the call.
    unsafe { ioctl(device.as_fd(), LOOP_CONFIGURE, &raw const config as usize) }.map(drop)
}

/// What the device shows; none when it is free.
fn status(device: &File) -> Result<Option<Backing>, Errno> {
    // SAFETY: all-zero bytes are a valid LoopInfo: it holds integers only.
    let mut info: LoopInfo = unsafe { zeroed() };
    // SAFETY: `info` is a whole, writable `struct loop_info64` that outlives the call.
    match unsafe { ioctl(device.as_fd(), LOOP_GET_STATUS64, &raw mut info as usize) } {
        Ok(_) => Ok(Some(Backing { device: info.device, inode: info.inode, offset: info.offset })),
        Err(Errno::NXIO) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Whether the device still shows `backing` (somebody else may have taken the number for another file since).
fn shows(path: &Path, backing: Backing) -> Result<bool> {
    match File::open(path) {
        Ok(device) => Ok(status(&device)
            .with_context(|| format!("{}: LOOP_GET_STATUS64", path.display()))?
            == Some(backing)),
        // The driver answers so while it tears the device down, or when the number is gone altogether.
        Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::NXIO)) => Ok(true),
        Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::NOENT | Errno::NODEV)) => Ok(false),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// # Safety
/// `argument` must be what `request` expects: 0 or the address of a live structure of the right type.
// SAFETY: what callers must hold to is said above; each of them says how it does.
unsafe fn ioctl(fd: BorrowedFd<'_>, request: u32, argument: usize) -> Result<u32, Errno> {
    // SAFETY: the descriptor is open for as long as it is borrowed; the argument is the caller's promise.
    let answer = unsafe { libc::ioctl(fd.as_raw_fd(), request as _, argument) };
    u32::try_from(answer)
        .map_err(|_| Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
}
