//! Owns starting this very program anew as an unprivileged helper: another user, no capabilities, no new privileges, no
//! descriptor but one socket.
//! Must not know what helpers do: `main` lends their bodies to [`dispatch`]. Called by the engine.
//!
//! The helper keeps the host's network, and its file system as an unknown user sees it. It dies with the thread that
//! started it (that is what the kernel watches), and when its [`Helper`] is dropped.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::resource::{Resource, setrlimit};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::entry::close_inherited;
use crate::privileges;

/// The private first argument by which [`dispatch`] knows that it is meant; the helper's name follows.
const WORD: &str = "__dibw-helper";
/// The user and group of helpers: nobody's, and not `nobody`, who may own things.
const ID: u32 = 99_999;
/// How long one read of a helper's socket takes at most before its reader can look at the time.
const READ_PATIENCE: Duration = Duration::from_secs(1);
/// Most descriptors of a helper: connections, and files of the resolver.
const OPEN_FILES: u64 = 64;
/// Most processes and threads of all helpers together, since they share a user.
const PROCESSES: u64 = 512;
/// Most memory of a helper, in bytes.
const MEMORY: u64 = 1 << 30;

/// What a helper does, with its end of the channel.
pub type Body = fn(UnixStream) -> io::Result<()>;

/// Becomes a helper when this process was started as one; otherwise does nothing.
///
/// Call it in `main` right after [`crate::entry::dispatch`]; `bodies` are the helpers that there are.
pub fn dispatch(bodies: &[(&str, Body)]) -> Option<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next()? != WORD {
        return None;
    }
    let name = arguments.next().unwrap_or_default();
    let served = match bodies.iter().find(|(known, _)| *known == name) {
        Some((_, body)) => prepare().and_then(|socket| body(socket).context("talk to the engine")),
        None => Err(anyhow::anyhow!("no helper is called {name:?} ({WORD} is for dibw's own use)")),
    };
    Some(served.map_or_else(
        |error| {
            eprintln!("dibw: helper {name}: {error:#}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    ))
}

/// Gives everything up but the socket, which is standard input.
fn prepare() -> Result<UnixStream> {
    close_inherited();
    set_parent_process_death_signal(Some(Signal::KILL)).context("ask to die with the engine")?;
    let socket = fcntl_dupfd_cloexec(io::stdin(), 3).context("take the channel")?;
    let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).context("open /dev/null")?;
    nix::unistd::dup2_stdin(null.as_fd()).context("close standard input")?;
    rustix::process::umask(Mode::from_raw_mode(0o077));
    let limits = [
        (Resource::RLIMIT_CORE, 0),
        // It writes no files; one that tries is killed (SIGXFSZ).
        (Resource::RLIMIT_FSIZE, 0),
        (Resource::RLIMIT_NOFILE, OPEN_FILES),
        (Resource::RLIMIT_NPROC, PROCESSES),
        (Resource::RLIMIT_AS, MEMORY),
    ];
    for (resource, limit) in limits {
        setrlimit(resource, limit, limit).with_context(|| format!("limit {resource:?}"))?;
    }
    privileges::become_nobody(ID)?;
    // The change of identity has cleared it; an engine that died meanwhile has closed the socket.
    set_parent_process_death_signal(Some(Signal::KILL)).context("ask to die with the engine")?;
    Ok(UnixStream::from(socket))
}

/// A helper at work. It is killed when this is dropped.
#[derive(Debug)]
pub struct Helper {
    child: Child,
    socket: UnixStream,
}

/// Starts the helper `name` of this very program.
///
/// Its environment is `env` and nothing else: what its libraries need, such as `SSL_CERT_FILE`.
///
/// # Errors
/// It can't be started.
pub fn start(name: &str, env: &[(String, String)]) -> Result<Helper> {
    start_program(Path::new("/proc/self/exe"), name, env)
}

/// As [`start`], of another program that calls [`dispatch`] first.
///
/// # Errors
/// It can't be started.
pub fn start_program(program: &Path, name: &str, env: &[(String, String)]) -> Result<Helper> {
    let (ours, theirs) = UnixStream::pair().context("socket pair")?;
    ours.set_read_timeout(Some(READ_PATIENCE)).context("set the patience of the channel")?;
    let mut command = Command::new(program);
    command.args([WORD, name]).env_clear().envs(env.iter().cloned()).current_dir("/");
    command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null());
    let child = command.spawn().with_context(|| format!("start the helper {name}"))?;
    Ok(Helper { child, socket: ours })
}

impl Helper {
    /// Our end of its channel. Reads return `WouldBlock` after a second, so that the reader can look at the time.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn channel(&self) -> Result<UnixStream> {
        self.socket.try_clone().context("share the channel of a helper")
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let ended = self.child.kill().and_then(|()| self.child.wait());
        if let Err(error) = ended {
            tracing::warn!("end a helper: {error}");
        }
    }
}
