//! Owns the last step of a sandboxed command: from a forked process to `execve`.
//! Must not know which cage it is in. Called by `entry`, in the child of the sandbox's init.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{chdir, execve, setsid};
use rustix::fs::Mode;

use crate::signals::restore_default_action;
use crate::spec::{Launch, Report};

/// Where programs are looked for when the environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The usual soft limit. A huge one makes programs that close every possible descriptor crawl.
const OPEN_FILES: u64 = 1024;

/// Becomes the command. Returns only to say why not.
pub(crate) fn become_command(launch: &Launch, stdin: Option<File>) -> Report {
    match prepare(launch, stdin) {
        Ok((argv, env)) => {
            let (errno, exists) = execute(&launch.argv[0], path_of(&launch.env), &argv, &env);
            Report::CannotStart { errno: errno as i32, exists }
        }
        Err(error) => Report::Failed(format!("{error:#}")),
    }
}

type Strings = Vec<CString>;

fn prepare(launch: &Launch, stdin: Option<File>) -> Result<(Strings, Strings)> {
    setsid().context("setsid")?;
    SigSet::empty().thread_set_mask().context("unblock signals")?;
    restore_default_action(Signal::SIGPIPE).context("restore SIGPIPE")?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    // Not 0: to a `core_pattern` that is a program of the host the limit means nothing, but for this one value (core(5)).
    setrlimit(Resource::RLIMIT_CORE, 1, 1).context("forbid core dumps")?;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("limit of open files")?;
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(OPEN_FILES), hard).context("limit of open files")?;
    if let Some(count) = launch.processes {
        // Counted per user of this user namespace (since Linux 5.14).
        setrlimit(Resource::RLIMIT_NPROC, count, count).context("limit of processes")?;
    }
    if let Some(file) = stdin {
        nix::unistd::dup2_stdin(&file).context("standard input")?;
    }
    chdir(&launch.cwd).with_context(|| format!("enter {}", launch.cwd.display()))?;
    let argv = launch
        .argv
        .iter()
        .map(|arg| CString::new(arg.as_str()).context("an argument"))
        .collect::<Result<_>>()?;
    let env = launch.env.iter();
    let env = env
        .map(|(name, value)| CString::new(format!("{name}={value}")).context("a variable"))
        .collect::<Result<_>>()?;
    Ok((argv, env))
}

fn path_of(env: &BTreeMap<String, String>) -> &str {
    env.get("PATH").map_or(DEFAULT_PATH, String::as_str)
}

/// `execve` of the first candidate that works, as a shell would look for it, but never handing an unknown file to
/// `/bin/sh` as `execvp` does. Returns the error that says most, and whether that candidate exists.
fn execute(program: &str, path: &str, argv: &[CString], env: &[CString]) -> (Errno, bool) {
    let candidates: Vec<String> = if program.contains('/') {
        vec![program.to_owned()]
    } else {
        path.split(':').filter(|dir| !dir.is_empty()).map(|dir| format!("{dir}/{program}")).collect()
    };
    let mut worst = (Errno::ENOENT, false);
    for candidate in candidates {
        let Ok(file) = CString::new(candidate.as_str()) else { continue };
        let Err(errno) = execve(&file, argv, env);
        let exists = Path::new(&candidate).exists();
        match errno {
            Errno::ENOENT | Errno::ENOTDIR if !exists => {}
            Errno::EACCES => worst = (errno, exists),
            _ => return (errno, exists),
        }
    }
    worst
}
