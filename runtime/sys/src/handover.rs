//! Owns giving one descriptor to another process of the same sandbox.
//! Must not know what it is for. Called by `entry`.
#![expect(unsafe_code, reason = "a received descriptor is a plain number at first")]

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

/// Sends a descriptor, or that there is none.
pub(crate) fn give(to: &UnixStream, descriptor: Option<&OwnedFd>) -> Result<()> {
    let raw: Vec<RawFd> = descriptor.iter().map(|descriptor| descriptor.as_raw_fd()).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let rights = if raw.is_empty() { &[] } else { &rights[..] };
    sendmsg::<()>(to.as_raw_fd(), &[IoSlice::new(b".")], rights, MsgFlags::MSG_NOSIGNAL, None)
        .map(drop)
        .context("hand a descriptor over")
}

/// Waits for what the other side gives; none as well when it is gone.
pub(crate) fn take(from: &UnixStream) -> Result<Option<OwnedFd>> {
    let mut byte = [0];
    let mut buffer = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!(RawFd);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message =
        recvmsg::<()>(from.as_raw_fd(), &mut buffer, Some(&mut space), flags).context("take a descriptor")?;
    for control in message.cmsgs().context("take a descriptor")? {
        if let ControlMessageOwned::ScmRights(raw) = control
            && let Some(raw) = raw.first()
        {
            // SAFETY: the kernel has just made it for us; there is room for one only.
            return Ok(Some(unsafe { OwnedFd::from_raw_fd(*raw) }));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, Write};

    use super::*;

    #[test]
    fn a_descriptor_arrives_or_nothing_does() {
        let (one, other) = UnixStream::pair().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        give(&one, Some(&file.try_clone().unwrap().into())).unwrap();
        give(&one, None).unwrap();
        drop(one);
        let mut taken = std::fs::File::from(take(&other).unwrap().unwrap());
        taken.write_all(b"same file").unwrap();
        file.rewind().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "same file");
        assert!(take(&other).unwrap().is_none());
        assert!(take(&other).unwrap().is_none());
    }
}
