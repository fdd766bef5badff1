//! Reading extended attributes.
//!
//! Owns which attributes are carried. Must not know about tar. Called by `tar_stream` alone.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{fgetxattr, flistxattr, lgetxattr, llistxattr};
use rustix::io::{Errno, Result};

/// Names and values, sorted by name.
type Attributes = Vec<(Vec<u8>, Vec<u8>)>;

/// The overlay file system's own bookkeeping, which would confuse the next one.
const LEFT_OUT: &[u8] = b"trusted.overlay.";

/// The most that Linux gives for one list or one value (include/uapi/linux/limits.h).
const LIMIT: usize = 65_536;

/// The attributes of an open file or directory.
pub(super) fn of_open(file: BorrowedFd<'_>) -> Result<Attributes> {
    read(|buffer| flistxattr(file, buffer), |name, buffer| fgetxattr(file, name, buffer))
}

/// The attributes of what is called `name` in `parent`, itself and not where it points.
///
/// For links and special files, which cannot or must not be opened. The path goes through `/proc` because only the
/// calls with paths can do this; the kernel resolves all but the last part of it from our own descriptor.
pub(super) fn of_name(parent: BorrowedFd<'_>, name: &CStr) -> Result<Attributes> {
    let mut path = PathBuf::from(format!("/proc/self/fd/{}", parent.as_raw_fd()));
    path.push(std::ffi::OsStr::from_bytes(name.to_bytes()));
    read(|buffer| llistxattr(&path, buffer), |name, buffer| lgetxattr(&path, name, buffer))
}

fn read(
    list: impl Fn(&mut [u8]) -> Result<usize>,
    get: impl Fn(&[u8], &mut [u8]) -> Result<usize>,
) -> Result<Attributes> {
    // Most files have none or few: a small buffer first, the largest that can be needed when it is too small.
    let names = match grown(&list) {
        Ok(names) => names,
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut attributes = Vec::new();
    for name in names.split(|byte| *byte == 0) {
        if name.is_empty() || name.starts_with(LEFT_OUT) {
            continue;
        }
        match grown(|buffer| get(name, buffer)) {
            Ok(value) => attributes.push((name.to_vec(), value)),
            // Gone since it was listed, or listed by a security module that does not show it.
            Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error),
        }
    }
    attributes.sort_unstable();
    Ok(attributes)
}

fn grown(call: impl Fn(&mut [u8]) -> Result<usize>) -> Result<Vec<u8>> {
    let mut buffer = vec![0; 256];
    let length = match call(&mut buffer) {
        Err(Errno::RANGE) => {
            buffer.resize(LIMIT, 0);
            call(&mut buffer)?
        }
        result => result?,
    };
    buffer.truncate(length);
    Ok(buffer)
}
