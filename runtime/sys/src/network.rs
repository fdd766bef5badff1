//! Owns network namespaces that live longer than one process: made before a sandbox, so that a proxy can listen in it first.
//! Must not know who enters it or what listens. Called by the engine; `entry` joins them.
//!
//! Each step is made by a thread that ends right after it: a thread can change its network namespace alone, and sockets
//! stay in the one they were made in.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, anyhow};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::loopback;
use crate::supervise::unshare;

/// A network namespace with nothing but `lo`, held by its descriptor.
#[derive(Debug)]
pub struct NetworkNamespace {
    namespace: OwnedFd,
}

impl NetworkNamespace {
    /// Makes one.
    ///
    /// # Errors
    /// Not root, or forbidden.
    pub fn create() -> Result<Self> {
        let namespace = in_thread(|| {
            unshare(UnshareFlags::NEWNET).context("make a network namespace")?;
            loopback::bring_up()?;
            File::open("/proc/thread-self/ns/net").context("open the network namespace")
        })?;
        Ok(Self { namespace: namespace.into() })
    }

    /// Listens in it, as a rule on 127.0.0.1. Only processes in the namespace reach it.
    ///
    /// # Errors
    /// See [`listen_in`].
    pub fn listen(&self, address: SocketAddr) -> Result<TcpListener> {
        listen_in(self.namespace.as_fd(), address)
    }

    /// For `setns`.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }

    /// A name by which a child of this process can open it.
    pub fn proc_path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.namespace.as_raw_fd()).into()
    }
}

/// Joins the namespace that `path` names.
pub(crate) fn join(path: &Path) -> Result<()> {
    let namespace = File::open(path).context("open the network namespace")?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .context("join the network namespace")
}

/// A listener on `address` in another network namespace.
///
/// # Errors
/// The namespace can't be entered (not root), or the address is in use there.
pub fn listen_in(namespace: BorrowedFd<'_>, address: SocketAddr) -> Result<TcpListener> {
    in_thread(|| {
        move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))
            .context("enter the network namespace")?;
        TcpListener::bind(address).with_context(|| format!("listen on {address} of the sandbox"))
    })
}

/// Runs `work` in a thread of its own and waits for it.
fn in_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let worker = thread::Builder::new()
            .name("network".to_owned())
            .spawn_scoped(scope, work)
            .context("start a thread")?;
        worker.join().unwrap_or_else(|_| Err(anyhow!("the thread for the network namespace panicked")))
    })
}
