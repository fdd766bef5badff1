//! How a supervised build ends: its status, signals in order, and nothing left whichever process is killed. Needs root.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

const PROBE: &str = env!("CARGO_BIN_EXE_sandbox-probe");

fn can_run(test: &str) -> bool {
    let able = rustix::process::geteuid().is_root();
    if !able {
        eprintln!("SKIPPED {test}: needs root");
    }
    able
}

/// A build that runs `script`, and its output lines.
fn start(dir: &Path, script: &str) -> Result<(Child, impl Iterator<Item = std::io::Result<String>>)> {
    let mut child = Command::new(PROBE).arg("build").arg(dir).arg(script).stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().context("stdout")?;
    Ok((child, BufReader::new(output).lines()))
}

fn next(lines: &mut impl Iterator<Item = std::io::Result<String>>) -> Result<String> {
    lines.next().context("the build ended early")?.map_err(Into::into)
}

fn signal(pid: u32, signal: Signal) -> Result<()> {
    Ok(kill_process(Pid::from_raw(i32::try_from(pid)?).context("pid")?, signal)?)
}

/// Processes of the host that have `mark` in their command line, as (pid, command line).
fn marked(mark: &str) -> Vec<(u32, String)> {
    let mut found = Vec::new();
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let pid = process.file_name().to_string_lossy().parse();
        if let Ok(pid) = pid
            && line.contains(mark)
            && pid != std::process::id()
        {
            found.push((pid, line));
        }
    }
    found
}

/// Waits, within reason, for what the kernel does after a kill.
fn gone(mark: &str) -> bool {
    let start = Instant::now();
    while !marked(mark).is_empty() {
        if start.elapsed() > Duration::from_secs(10) {
            return false;
        }
        std::thread::yield_now();
    }
    true
}

#[test]
fn the_status_comes_through() -> Result<()> {
    if !can_run("the_status_comes_through") {
        return Ok(());
    }
    for code in [0, 1, 42, 130] {
        let status = Command::new(PROBE).args(["exit", &code.to_string()]).status()?;
        assert_eq!(status.code(), Some(code));
    }
    Ok(())
}

#[test]
fn killing_any_process_of_a_build_leaves_nothing() -> Result<()> {
    if !can_run("killing_any_process_of_a_build_leaves_nothing") {
        return Ok(());
    }
    // Supervisor, init, engine, keeper, the sandbox's init, the command: in this order, as they were started.
    for victim in 0..6 {
        let dir = tempfile::tempdir_in("/var/tmp")?;
        let mark = dir.path().to_string_lossy().into_owned();
        // The daemon leaves its session and its parent; its name carries the mark.
        let script = format!(
            "sh -c 'setsid sh -c \"while :; do sleep 3602; done\" {mark} & ' ; touch {mark}/file; echo ready; sleep 3602; : {mark}"
        );
        let (mut child, mut lines) = start(dir.path(), &script)?;
        assert!(next(&mut lines)?.starts_with("engine "));
        assert_eq!(next(&mut lines)?, "ready");
        assert_eq!(std::fs::read_dir(dir.path())?.count(), 0, "the build's mount is seen outside");
        let mut pids = vec![child.id()];
        let mut next_parent = child.id();
        while let Ok(children) =
            std::fs::read_to_string(format!("/proc/{next_parent}/task/{next_parent}/children"))
            && let Some(first) = children.split_whitespace().next()
        {
            next_parent = first.parse()?;
            pids.push(next_parent);
        }
        assert!(pids.len() >= 6, "{pids:?}");
        signal(pids[victim], Signal::KILL)?;
        let status = child.wait()?;
        let expected = match victim {
            // Killed itself; its init went; the engine's own report of a broken sandbox; the command's status.
            0 => (None, Some(9)),
            1 | 2 => (Some(137), None),
            3 | 4 => (Some(70), None),
            _ => (Some(137), None),
        };
        assert_eq!((status.code(), status.signal()), expected, "victim {victim}");
        assert!(gone(&mark), "victim {victim}: {:#?}", marked(&mark));
        let mounts = std::fs::read_to_string("/proc/mounts")?;
        assert!(!mounts.contains(&mark), "{mounts}");
    }
    Ok(())
}

#[test]
fn a_signal_stops_the_command_and_unwinding_is_not_disturbed_by_a_second() -> Result<()> {
    if !can_run("a_signal_stops_the_command_and_unwinding_is_not_disturbed_by_a_second") {
        return Ok(());
    }
    for (signal_number, name) in [(Signal::INT, "SIGINT"), (Signal::TERM, "SIGTERM"), (Signal::HUP, "SIGHUP")]
    {
        let dir = tempfile::tempdir_in("/var/tmp")?;
        let script = "mkfifo gate; echo ready; sleep 3603";
        let (mut child, mut lines) = start(dir.path(), script)?;
        let engine = next(&mut lines)?;
        assert_eq!(next(&mut lines)?, "ready");
        signal(child.id(), signal_number)?;
        assert_eq!(next(&mut lines)?, format!("interrupted by {name}"));
        assert_eq!(next(&mut lines)?, "unwinding");
        // The unwinding command waits at the gate: a second and a third signal arrive in the middle of it.
        signal(child.id(), signal_number)?;
        signal(child.id(), Signal::INT)?;
        assert!(engine.starts_with("engine "));
        open_gate(child.id())?;
        assert_eq!(next(&mut lines)?, "went through");
        assert_eq!(next(&mut lines)?, "unwound: exit status 0");
        assert_eq!(child.wait()?.code(), Some(130));
    }
    Ok(())
}

/// Writes into the fifo of the build's private tmpfs, through the root directory of its deepest process.
fn open_gate(supervisor: u32) -> Result<()> {
    let mut pid = supervisor;
    while let Some(first) =
        std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?.split_whitespace().next()
    {
        pid = first.parse()?;
    }
    std::fs::write(format!("/proc/{pid}/cwd/gate"), "went through\n").context("open the gate")
}
