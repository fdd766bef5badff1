//! What hooks on the host see and seem to change: captured directories, `/tmp`, mounts in the target. Nothing of it may reach the host, no
//! link of the target may lead out of it, and only what was mounted in the target is kept.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::Result;
use dibw_sys::confined::{Captured, ConfinedCommand, Level, Network, TargetView, View};
use dibw_sys::mounts::unmount;
use dibw_sys::process::Status;
use dibw_sys::sandbox::Input;
use dibw_tests::sandbox_target::{Outcome, SandboxTarget, bare_environment, record};

const PROBE: &str = env!("CARGO_BIN_EXE_sandbox-probe");

/// A directory for one test, with all that a view may need in it.
struct Scene {
    target: SandboxTarget,
    at: PathBuf,
}

impl Scene {
    fn new(test: &str) -> Result<Option<Self>> {
        let Some(target) = SandboxTarget::new(test, PROBE)? else { return Ok(None) };
        let at = target.dir.path().join("scene");
        for directory in
            ["upper", "upper-work", "host", "places", "root/etc", "root/proc", "root/dev", "root/sys"]
        {
            fs::create_dir_all(at.join(directory))?;
        }
        Ok(Some(Self { target, at }))
    }

    fn captured(&self, path: &Path) -> Captured {
        Captured { path: path.to_owned(), upper: self.at.join("upper"), work: self.at.join("upper-work") }
    }

    fn run(&self, script: &str, view: View) -> Result<Outcome> {
        let command = ConfinedCommand {
            argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
            env: bare_environment(),
            cwd: "/".into(),
            stdin: Input::Null,
            timeout: None,
            level: Level::Confined,
            view,
            network: Network::None,
            limits: dibw_sys::limits::Limits::default(),
        };
        record(|on_line| self.target.runner.outside(&command, on_line))
    }
}

#[test]
fn captured_writes_stay_away_from_the_host() -> Result<()> {
    let Some(scene) = Scene::new("captured_writes_stay_away_from_the_host")? else { return Ok(()) };
    let host = scene.at.join("host");
    fs::write(host.join("old"), "old\n")?;
    fs::write(scene.at.join("beyond"), "beyond\n")?;
    symlink("../beyond", host.join("link"))?;
    let dir = host.display();
    let script = format!(
        "cat {dir}/old; echo changed > {dir}/old; rm {dir}/old; echo new > {dir}/new; echo evil > {dir}/link; ls {dir}"
    );
    let view = View { captured: vec![scene.captured(&host)], ..View::default() };
    let outcome = scene.run(&script, view)?;
    assert_eq!(outcome.stdout, "old\nlink\nnew\n", "{}", outcome.stderr);
    assert_eq!(fs::read_to_string(host.join("old"))?, "old\n");
    assert!(!host.join("new").exists());
    assert_eq!(fs::read_to_string(scene.at.join("beyond"))?, "beyond\n", "a link led out of the directory");
    assert_eq!(fs::read_to_string(scene.at.join("upper/new"))?, "new\n");
    Ok(())
}

#[test]
fn a_captured_directory_may_hold_the_work_directory() -> Result<()> {
    let Some(scene) = Scene::new("a_captured_directory_may_hold_the_work_directory")? else { return Ok(()) };
    let dir = scene.at.display();
    let view = View {
        writable: vec![scene.at.join("root")],
        captured: vec![scene.captured(&scene.at)],
        ..View::default()
    };
    let outcome = scene.run(&format!("echo new > {dir}/new; echo built > {dir}/root/etc/built"), view)?;
    assert_eq!(outcome.finished.status, Status::Exited(0), "{}", outcome.stderr);
    assert!(!scene.at.join("new").exists());
    assert_eq!(fs::read_to_string(scene.at.join("upper/new"))?, "new\n");
    assert_eq!(fs::read_to_string(scene.at.join("root/etc/built"))?, "built\n");
    Ok(())
}

#[test]
fn the_hosts_tmp_is_seen_and_not_changed() -> Result<()> {
    let Some(scene) = Scene::new("the_hosts_tmp_is_seen_and_not_changed")? else { return Ok(()) };
    let file = tempfile::NamedTempFile::new_in("/tmp")?;
    fs::write(file.path(), "of the host\n")?;
    let socket = tempfile::tempdir_in("/tmp")?;
    let listening = std::os::unix::net::UnixListener::bind(socket.path().join("s"))?;
    listening.set_nonblocking(true)?;
    let connect = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])";
    let script = format!(
        "cat {0}; echo changed > {0}; echo mine > /tmp/dibw-view-test; cat /tmp/dibw-view-test; \
         python3 -c '{connect}' {1}/s 2>/dev/null && echo connected",
        file.path().display(),
        socket.path().display(),
    );
    let view = View { tmp: Some(scene.captured(Path::new("/tmp"))), ..View::default() };
    let outcome = scene.run(&script, view)?;
    assert_eq!(outcome.stdout, "of the host\nmine\n", "{}", outcome.stderr);
    assert_eq!(fs::read_to_string(file.path())?, "of the host\n");
    assert!(!Path::new("/tmp/dibw-view-test").exists());
    assert_eq!(fs::read_to_string(scene.at.join("upper/dibw-view-test"))?, "mine\n");
    assert!(listening.accept().is_err(), "a program of the host was reached");
    Ok(())
}

#[test]
fn mounts_in_the_target_are_kept_and_come_back() -> Result<()> {
    let Some(scene) = Scene::new("mounts_in_the_target_are_kept_and_come_back")? else { return Ok(()) };
    let (root, host, places) = (scene.at.join("root"), scene.at.join("host"), scene.at.join("places"));
    fs::create_dir(root.join("cache"))?;
    let target = TargetView { root: root.clone(), keep: Some(places.clone()), ..TargetView::default() };
    let script = format!(
        "mount --bind {1} {0}/cache; echo kept > {0}/cache/file; mount -t tmpfs x {0}/dev; mount -t tmpfs x /mnt",
        root.display(),
        host.display()
    );
    let writable = vec![scene.at.clone()];
    let view = View { writable: writable.clone(), target: Some(target.clone()), ..View::default() };
    let outcome = scene.run(&script, view)?;
    assert_eq!(outcome.finished.status, Status::Exited(0), "{}", outcome.stderr);
    assert_eq!(outcome.finished.kept, [(root.join("cache"), places.join("0"))]);
    let seen = fs::read_to_string(places.join("0/file"));
    let binds = vec![(places.join("0"), "/cache".to_owned())];
    let view = View { writable, target: Some(TargetView { binds, ..target }), ..View::default() };
    let again = scene.run(&format!("cat {}/cache/file", root.display()), view);
    unmount(&places.join("0"))?;
    assert_eq!(seen?, "kept\n");
    let again = again?;
    assert_eq!((again.stdout.as_str(), again.finished.kept.len()), ("kept\n", 0), "{}", again.stderr);
    assert!(!root.join("cache/file").exists(), "the mount outlived its namespace");
    Ok(())
}

#[test]
fn links_of_the_target_lead_nowhere_else() -> Result<()> {
    let Some(scene) = Scene::new("links_of_the_target_lead_nowhere_else")? else { return Ok(()) };
    let root = scene.at.join("root");
    fs::remove_dir(root.join("sys"))?;
    symlink("/usr", root.join("sys"))?;
    fs::remove_dir(root.join("etc"))?;
    symlink("/etc", root.join("etc"))?;
    fs::write(scene.at.join("host/passwd"), "planted\n")?;
    let target = TargetView { root: root.clone(), furnished: true, ..TargetView::default() };
    let view = View { writable: vec![scene.at.clone()], target: Some(target.clone()), ..View::default() };
    let outcome = scene.run(&format!("ls /usr/bin/env; ls -d {}/proc/self", root.display()), view)?;
    let expected = format!("/usr/bin/env\n{}/proc/self\n", root.display());
    assert_eq!(outcome.stdout, expected, "{}", outcome.stderr);
    // `/etc` of the target is a link to itself there, so there is nothing to mount on, and the host's is not touched.
    let binds = vec![(scene.at.join("host"), "/etc".to_owned())];
    let view = View {
        writable: vec![scene.at.clone()],
        target: Some(TargetView { binds, ..target }),
        ..View::default()
    };
    assert!(scene.run("cat /etc/passwd", view).is_err());
    Ok(())
}
