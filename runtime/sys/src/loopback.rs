//! Owns switching on `lo` of a new network namespace: many test suites and daemons talk to themselves.
//! Must not touch any other interface. Called by `entry`.
#![expect(unsafe_code, reason = "interface ioctls")]

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result};

/// Brings `lo` of the current network namespace up; its address 127.0.0.1 comes by itself.
pub(crate) fn bring_up() -> Result<()> {
    // SAFETY: no memory is passed; a descriptor that is returned is nobody else's.
    let socket = unsafe {
        let raw = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if raw < 0 {
            return Err(std::io::Error::last_os_error()).context("socket");
        }
        OwnedFd::from_raw_fd(raw)
    };
    // SAFETY: all-zero bytes are a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    let up = libc::IFF_UP | libc::IFF_RUNNING;
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(up).expect("two low bits fit");
    // SAFETY: the request is a valid ifreq that outlives the call.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) } < 0 {
        return Err(std::io::Error::last_os_error()).context("bring lo up");
    }
    Ok(())
}
