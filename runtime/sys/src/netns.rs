//! Owns network namespaces that outlive one command: with nothing but `lo`, and a listener of ours there.
//! Must not know what is served. Called by the engine; `entry` joins them.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::loopback;
use crate::supervise::unshare;

/// A network namespace. It goes away with this and the last process in it.
#[derive(Debug)]
pub struct NetworkNamespace(File);

impl NetworkNamespace {
    /// Makes one, and a listener in it at `address`, which is one of `lo`'s.
    ///
    /// # Errors
    /// Without the privilege; when the address can't be had.
    pub fn with_listener(address: SocketAddr) -> Result<(Self, TcpListener)> {
        // Only the one thread moves there; sockets stay in the namespace that they were made in.
        let made = std::thread::spawn(move || -> Result<_> {
            unshare(UnshareFlags::NEWNET).context("make a network namespace")?;
            loopback::bring_up()?;
            let listener = TcpListener::bind(address).with_context(|| format!("listen at {address}"))?;
            let namespace = File::open("/proc/thread-self/ns/net").context("open the network namespace")?;
            Ok((Self(namespace), listener))
        });
        made.join().map_err(|_| anyhow!("the thread that makes a network namespace panicked"))?
    }

    /// By which another process can join it as long as this lives.
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()).into()
    }
}

/// Joins the namespace with this path.
pub(crate) fn join(path: &Path) -> Result<()> {
    let namespace = File::open(path).context("open the network namespace")?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .context("join the network namespace")
}
