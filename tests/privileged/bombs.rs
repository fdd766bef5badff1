//! Commands that take all they can get: each ends soon, says which limit it was, and leaves nothing. Needs root and, for memory and
//! processes, control groups of either version.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use dibw_sys::limits::{Exceeded, Limits};
use dibw_sys::process::Status;
use dibw_sys::sandbox::SandboxCommand;
use dibw_tests::sandbox_target::{SandboxTarget, shell_command};

const PROBE: &str = env!("CARGO_BIN_EXE_sandbox-probe");
const MIB: u64 = 1 << 20;

/// (what it takes, the script, its limits, the end)
fn bombs() -> Vec<(&'static str, String, SandboxCommand, Status)> {
    let with = |script: &str, limits| SandboxCommand {
        limits,
        timeout: Some(Duration::from_secs(60)),
        ..shell_command(script)
    };
    let named = |name, script: &str, limits, end| (name, script.to_owned(), with(script, limits), end);
    let memory = Limits { memory: Some(64 * MIB), ..Limits::default() };
    let processes = Limits { processes: Some(100), ..Limits::default() };
    let disk = Limits { disk: Some(256 * MIB), ..Limits::default() };
    let output = Limits { output: Some(4 * MIB), ..Limits::default() };
    let late = SandboxCommand {
        timeout: Some(Duration::from_secs(1)),
        ..shell_command("for n in 1 2 3 4; do (trap '' TERM; while :; do :; done) & done; wait")
    };
    vec![
        ("processor", "busy loops".to_owned(), late, Status::TimedOut),
        named(
            "memory",
            "perl -e 'my @all; push @all, \"x\" x 1048576 while 1'",
            memory.clone(),
            Status::Exceeded(Exceeded::Memory(64 * MIB)),
        ),
        named(
            "memory in a file",
            "head -c 200M /dev/zero > /dev/shm/file",
            memory.clone(),
            Status::Exceeded(Exceeded::Memory(64 * MIB)),
        ),
        named(
            "memory, unnoticed by the command",
            "perl -e 'my @all; push @all, \"x\" x 1048576 while 1' || true; exit 0",
            memory,
            Status::Exceeded(Exceeded::Memory(64 * MIB)),
        ),
        named(
            "processes",
            "bomb() { bomb | bomb & }; bomb; sleep 60",
            processes.clone(),
            Status::Exceeded(Exceeded::Processes(100)),
        ),
        named(
            "processes of another user",
            "perl -e '$< = $> = 1000; fork while 1'",
            processes,
            Status::Exceeded(Exceeded::Processes(100)),
        ),
        named(
            "disk",
            "while :; do head -c 1M /dev/zero >> /var/file; done",
            disk.clone(),
            Status::Exceeded(Exceeded::Disk(256 * MIB)),
        ),
        named(
            "disk, many files",
            "n=0; while :; do n=$((n+1)); head -c 1M /dev/zero > /var/file$n; done",
            disk,
            Status::Exceeded(Exceeded::Disk(256 * MIB)),
        ),
        named("output", "yes", output.clone(), Status::Exceeded(Exceeded::Output(4 * MIB))),
        named(
            "output without a line end",
            "cat /dev/zero >&2",
            output,
            Status::Exceeded(Exceeded::Output(4 * MIB)),
        ),
    ]
}

#[test]
fn bombs_end_soon_and_say_why() -> Result<()> {
    let Some(mut target) = SandboxTarget::new("bombs_end_soon_and_say_why", PROBE)? else { return Ok(()) };
    let missing = target.runner.missing_controllers();
    let mut faults = Vec::new();
    for (name, script, command, end) in bombs() {
        let needed = match end {
            Status::Exceeded(Exceeded::Memory(_)) => "memory",
            Status::Exceeded(Exceeded::Processes(_)) => "pids",
            _ => "none",
        };
        if missing.contains(&needed) {
            eprintln!("SKIPPED {name}: this machine has no control groups for {needed}");
            continue;
        }
        let upper = target.tree.layers().last().expect("a layer").upper.clone();
        let began = Instant::now();
        let outcome = target.run(&command)?;
        let took = began.elapsed();
        eprintln!("{name}: {} after {took:?}", outcome.finished.status);
        if outcome.finished.status != end || took > Duration::from_secs(20) {
            faults.push(format!(
                "{name} ({script}): {}, {} after {took:?}",
                outcome.finished.status, outcome.stderr
            ));
        }
        let said = outcome.stdout.len() as u64 + outcome.stderr.len() as u64;
        let written = size(&upper.join("var"))?;
        if said > 8 * MIB || written > 512 * MIB {
            faults.push(format!("{name}: it said {said} bytes and wrote {written}"));
        }
        target.tree.discard_top()?;
        target.tree.begin_layer("test")?;
    }
    faults.extend(groups().into_iter().map(|group| format!("{} is left", group.display())));
    assert!(faults.is_empty(), "{faults:#?}");
    Ok(())
}

#[test]
fn usual_limits_are_in_nobodys_way_and_seen_by_nobody() -> Result<()> {
    let Some(mut target) = SandboxTarget::new("usual_limits_are_in_nobodys_way_and_seen_by_nobody", PROBE)?
    else {
        return Ok(());
    };
    let limits = Limits { cpu: Some(100), ..Limits::usual()? };
    let script = "for n in 1 2 3 4 5; do sh -c 'head -c 1M /dev/zero' | wc -c; done; ls -A /sys";
    let outcome = target.run(&SandboxCommand { limits, ..shell_command(script) })?;
    assert_eq!(
        (outcome.finished.status, outcome.stdout.as_str()),
        (Status::Exited(0), "1048576\n".repeat(5).as_str())
    );
    Ok(())
}

/// A build that is killed leaves its groups; the next one removes them, and not those that are in use.
#[test]
fn groups_of_dead_builds_are_removed() -> Result<()> {
    let Some(target) = SandboxTarget::new("groups_of_dead_builds_are_removed", PROBE)? else { return Ok(()) };
    let places: Vec<PathBuf> = ["memory", "pids"].iter().filter_map(|one| own_group(one)).collect();
    for place in &places {
        fs::create_dir(place.join("dibw-99999"))?;
        fs::create_dir(place.join("dibw-99998"))?;
    }
    let used: Vec<_> =
        places.iter().map(|place| fs::File::open(place.join("dibw-99998"))).collect::<Result<_, _>>()?;
    for group in &used {
        rustix::fs::flock(group, rustix::fs::FlockOperation::LockExclusive)?;
    }
    drop(target);
    let _next = SandboxTarget::new("groups_of_dead_builds_are_removed", PROBE)?;
    for place in &places {
        assert!(
            !place.join("dibw-99999").exists() && place.join("dibw-99998").exists(),
            "{}",
            place.display()
        );
        fs::remove_dir(place.join("dibw-99998"))?;
    }
    Ok(())
}

/// Our own group in version 1; none in version 2, where the runner may use another.
fn own_group(controller: &str) -> Option<PathBuf> {
    let ours = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path =
        ours.lines().find_map(|line| line.split_once(&format!(":{controller}:")).map(|(_, path)| path))?;
    Some(Path::new("/sys/fs/cgroup").join(controller).join(path.trim_start_matches('/')))
}

/// Groups with a name of ours that nobody uses.
fn groups() -> Vec<PathBuf> {
    let places = ["memory", "pids", "cpu"].iter().filter_map(|one| own_group(one));
    let entries = places.flat_map(|place| fs::read_dir(place).into_iter().flatten().flatten());
    // Those of the test below are its own.
    let is_ours = |name: &str| name.starts_with("dibw-") && !name.starts_with("dibw-9999");
    let ours = entries.filter(|entry| is_ours(&entry.file_name().to_string_lossy()));
    let unused = |path: &PathBuf| {
        fs::File::open(path).is_ok_and(|dir| {
            rustix::fs::flock(&dir, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok()
        })
    };
    ours.map(|entry| entry.path()).filter(unused).collect()
}

fn size(dir: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let entry = entry?;
        sum += if entry.file_type()?.is_dir() { size(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(sum)
}
