//! Owns the user namespace of a build: ids 0 to 65535 inside are an unprivileged range outside.
//! Must not know what runs in it. Made by `runner`, once per build.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::thread::UnshareFlags;

use crate::channel::Channel;
use crate::spec::{Job, Report};
use crate::supervise::unshare;

/// Where the ranges of builds begin. They need not be in /etc/subuid, since real root maps them; nothing on disk ever carries
/// these ids.
pub const FIRST_BASE: u32 = 100_000;
/// How many ids a target has: all that fit into 16 bits, `nobody` included.
pub const COUNT: u32 = 65_536;
/// How many builds can have a range of their own at one time.
const RANGES: u32 = 10_000;

/// [`COUNT`] ids of the host that belong to this build as long as this lives, so that no process of one build has the user of another.
#[derive(Debug)]
pub struct IdRange {
    base: u32,
    /// Its name says which range is taken, and goes away with the process, however that ends.
    _claim: UnixListener,
}

impl IdRange {
    /// The first that is free.
    ///
    /// # Errors
    /// When none is.
    pub fn claim() -> Result<Self> {
        for number in 0..RANGES {
            let name = SocketAddr::from_abstract_name(format!("dibw/ids/{number}"))
                .context("name a range of ids")?;
            match UnixListener::bind_addr(&name) {
                Ok(claim) => return Ok(Self { base: FIRST_BASE + number * COUNT, _claim: claim }),
                Err(error) if error.kind() == ErrorKind::AddrInUse => {}
                Err(error) => return Err(error).context("claim a range of ids"),
            }
        }
        bail!("{RANGES} builds have all the ranges of ids")
    }
}

/// A mapped user namespace without processes, held by its descriptor, in which no further namespace can be made.
#[derive(Debug)]
pub struct UserNamespace {
    namespace: OwnedFd,
    ids: IdRange,
}

impl UserNamespace {
    /// Makes one: the ids from 0 on are those of the range. `runner` is the program whose `main` calls
    /// [`crate::entry::dispatch`].
    ///
    /// # Errors
    /// Not root, or user namespaces switched off (`user.max_user_namespaces`, a container's seccomp).
    pub fn create(runner: &Path, ids: IdRange) -> Result<Self> {
        let (mut child, mut channel) = Channel::start(runner, &Job::HoldUserNamespace, None)?;
        let make = |channel: &mut Channel| {
            match channel.receive()? {
                Some(Report::Ready) => {}
                other => bail!("make a user namespace: {}", describe(other)),
            }
            let process = PathBuf::from(format!("/proc/{}", child.id()));
            for map in ["uid_map", "gid_map"] {
                let path = process.join(map);
                fs::write(&path, format!("0 {} {COUNT}\n", ids.base))
                    .with_context(|| format!("write {}", path.display()))?;
            }
            let path = process.join("ns/user");
            let namespace = fs::File::open(&path).with_context(|| format!("open {}", path.display()))?;
            channel.send(&())?;
            match channel.receive()? {
                Some(Report::Exited(0)) => Ok(Self { namespace: namespace.into(), ids }),
                other => bail!("prepare the user namespace: {}", describe(other)),
            }
        };
        let made = make(&mut channel);
        // Its going away is what ends the child, whatever went wrong.
        drop(channel);
        child.wait().context("wait for the maker of the user namespace")?;
        made
    }

    /// The host's id of its root.
    pub fn base(&self) -> u32 {
        self.ids.base
    }

    /// The namespace, for `setns` and id-mapped mounts.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }

    /// A name by which a child of this process can open it.
    pub(crate) fn proc_path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.namespace.as_raw_fd()).into()
    }
}

/// The other side of [`UserNamespace::create`], in the started process.
pub(crate) fn hold(channel: &mut Channel) -> Result<()> {
    unshare(UnshareFlags::NEWUSER).context("make a user namespace (is user.max_user_namespaces 0?)")?;
    channel.send(&Report::Ready)?;
    if channel.receive::<()>()?.is_none() {
        bail!("the build is gone");
    }
    // The limits are the namespace's own and outlive this process. All namespaces of a sandbox are made before it enters
    // this one, so nothing in it ever needs another.
    for kind in ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"] {
        let path = format!("/proc/sys/user/max_{kind}_namespaces");
        fs::write(&path, "0\n").with_context(|| format!("write {path}"))?;
    }
    channel.send(&Report::Exited(0))
}

fn describe(report: Option<Report>) -> String {
    match report {
        Some(Report::Failed(message)) => message,
        Some(other) => format!("unexpected answer {other:?}"),
        None => "its process died".to_owned(),
    }
}
