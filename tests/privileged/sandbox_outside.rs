//! Commands on the host's own root: what `confined` forbids and what it must let through. Needs root.

use std::path::{Path, PathBuf};

use anyhow::Result;
use dibw_sys::confined::{ConfinedCommand, Level, Network, View};
use dibw_sys::process::Status;
use dibw_sys::sandbox::Input;
use dibw_tests::sandbox_target::{Outcome, SandboxTarget, bare_environment, record};

const PROBE: &str = env!("CARGO_BIN_EXE_sandbox-probe");

fn confined(script: &str, writable: &[PathBuf]) -> ConfinedCommand {
    ConfinedCommand {
        argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
        env: bare_environment(),
        cwd: writable.first().cloned().unwrap_or_else(|| "/".into()),
        stdin: Input::Null,
        timeout: None,
        level: Level::Confined,
        view: View { writable: writable.to_vec(), ..View::default() },
        network: Network::None,
        limits: dibw_sys::limits::Limits::default(),
    }
}

fn run(target: &SandboxTarget, command: &ConfinedCommand) -> Result<Outcome> {
    record(|on_line| target.runner.outside(command, on_line))
}

#[test]
fn the_host_is_read_only_but_for_the_build() -> Result<()> {
    let Some(target) = SandboxTarget::new("the_host_is_read_only_but_for_the_build", PROBE)? else {
        return Ok(());
    };
    // One below /var/tmp and one below /tmp, which is private otherwise.
    let below_tmp = tempfile::tempdir_in("/tmp")?;
    let writable = [target.dir.path().to_owned(), below_tmp.path().to_owned()];
    let refused = [
        "touch /etc/x",
        "touch /usr/x",
        "touch /var/tmp/x",
        "test -n \"$(ls -A /run)\"",
        "touch /sys/x",
        "touch /root/x",
        "echo 1 > /proc/sys/kernel/panic",
        "echo 1 > /proc/sys/vm/drop_caches",
        "date -s 2000-01-01",
        "hostname -F /etc/hostname; kill -0 1234567",
        "ls /dev/vda",
        "ls /dev/loop-control",
        "getent hosts deb.debian.org",
    ];
    for script in refused {
        assert!(!run(&target, &confined(script, &writable))?.finished.success(), "{script}");
    }
    let script = format!(
        "echo kept > made; echo kept > {0}/made; echo private > /tmp/made; ls -A /tmp | wc -l; echo /proc/[0-9]*; pwd; \
         mknod node c 1 3 && echo gone > node; mount -t tmpfs x place && umount place; echo $(tty)",
        below_tmp.path().display()
    );
    std::fs::create_dir(target.dir.path().join("place"))?;
    let outcome = run(&target, &confined(&script, &writable))?;
    let expected = format!("2\n/proc/1 /proc/2\n{}\nnot a tty\n", target.dir.path().display());
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), (expected.as_str(), ""));
    for dir in &writable {
        assert_eq!(std::fs::read_to_string(dir.join("made"))?, "kept\n");
    }
    assert!(!Path::new("/tmp/made").exists());
    Ok(())
}

#[test]
fn host_level_is_real_root_that_leaves_nothing() -> Result<()> {
    let Some(target) = SandboxTarget::new("host_level_is_real_root_that_leaves_nothing", PROBE)? else {
        return Ok(());
    };
    let dir = target.dir.path().display();
    let script = format!(
        "grep CapEff /proc/self/status > {dir}/capabilities; mkdir {dir}/m; mount -t tmpfs tmpfs {dir}/m; touch {dir}/m/in; \
         setsid sleep 3601 & ls {dir}/m"
    );
    let command = ConfinedCommand { level: Level::Host, network: Network::Host, ..confined(&script, &[]) };
    let outcome = run(&target, &command)?;
    assert_eq!(
        (outcome.finished.status, outcome.stdout.as_str()),
        (Status::Exited(0), "in\n"),
        "{}",
        outcome.stderr
    );
    assert_eq!(std::fs::read_dir(target.dir.path().join("m"))?.count(), 0, "the mount survived");
    let ours = std::fs::read_to_string("/proc/self/status")?;
    let theirs = std::fs::read_to_string(target.dir.path().join("capabilities"))?;
    assert!(ours.contains(&theirs), "{theirs}");
    Ok(())
}

#[test]
fn mmdebstrap_bootstraps_into_the_mounted_target() -> Result<()> {
    let test = "mmdebstrap_bootstraps_into_the_mounted_target";
    let Some(mut target) = SandboxTarget::new(test, PROBE)? else { return Ok(()) };
    if std::net::TcpStream::connect("deb.debian.org:80").is_err() {
        eprintln!("SKIPPED {test}: needs the Debian mirror");
        return Ok(());
    }
    let work = tempfile::tempdir_in("/var/tmp")?;
    let mut tree = dibw_sys::overlay::TargetTree::new(work.path())?;
    tree.begin_layer("root")?;
    let root = tree.mount_plain()?.to_owned();
    let script = format!(
        "mmdebstrap --mode=root --variant=minbase bookworm {} http://deb.debian.org/debian",
        root.display()
    );
    let command = ConfinedCommand { network: Network::Host, ..confined(&script, &[work.path().to_owned()]) };
    let outcome = run(&target, &command)?;
    assert_eq!(outcome.finished.status, Status::Exited(0), "{}", outcome.finished.tail.join("\n"));
    assert_eq!(std::os::unix::fs::MetadataExt::gid(&std::fs::metadata(root.join("etc/shadow"))?), 42);
    tree.begin_layer("install")?;
    std::mem::swap(&mut target.tree, &mut tree);
    assert_eq!(
        target.shell(". /etc/os-release; echo $VERSION_CODENAME; stat -c %u:%g /etc/shadow")?.stdout,
        "bookworm\n0:42\n"
    );
    Ok(())
}
