//! `strict` commands outside the target: what they see of the machine, what they may do with the target. Needs root.

use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use anyhow::Result;
use dibw_sys::confined::Network;
use dibw_sys::network::NetworkNamespace;
use dibw_sys::process::Status;
use dibw_sys::sandbox::{Extras, HostView, SandboxCommand};
use dibw_tests::sandbox_target::{SandboxTarget, shell_command};

const PROBE: &str = env!("CARGO_BIN_EXE_sandbox-probe");

fn strict(script: &str, view: HostView) -> SandboxCommand {
    let extras = Extras { host: Some(view), ..Extras::default() };
    SandboxCommand { extras, ..shell_command(script) }
}

#[test]
fn the_machine_is_nobodys_and_the_target_is_roots() -> Result<()> {
    let test = "the_machine_is_nobodys_and_the_target_is_roots";
    let Some(mut target) = SandboxTarget::new(test, PROBE)? else { return Ok(()) };
    let root = target.tree.mount_point().to_owned();
    // Below a directory that only root may pass.
    let closed = tempfile::tempdir_in("/var/tmp")?;
    let shown = tempfile::tempdir_in(closed.path())?;
    let written = tempfile::tempdir_in("/var/tmp")?;
    let secret = tempfile::tempdir_in("/var/tmp")?;
    for (dir, name, mode) in [(&shown, "hook", 0o600), (&secret, "key", 0o600)] {
        std::fs::write(dir.path().join(name), "there\n")?;
        std::fs::set_permissions(dir.path().join(name), std::fs::Permissions::from_mode(mode))?;
    }
    let view = HostView {
        hidden: vec![target.dir.path().to_owned()],
        readable: vec![(shown.path().to_owned(), shown.path().to_owned())],
        writable: vec![(written.path().to_owned(), written.path().to_owned())],
    };
    let (root, shown, written) = (root.display(), shown.path().display(), written.path().display());
    let refused = [
        "cat /etc/shadow".to_owned(),
        format!("cat {}/key", secret.path().display()),
        "find /root /home /run /sys -mindepth 1 | grep .".to_owned(),
        "touch /etc/x".to_owned(),
        "touch /var/tmp/x".to_owned(),
        format!("touch {shown}/x"),
        format!("mount -t tmpfs x {root}/mnt"),
        format!("mount -o remount,rw / || mount --bind {root} /etc"),
        format!("mknod {root}/node b 254 0"),
        "umount /tmp".to_owned(),
        "umount -l /root".to_owned(),
        "unshare -U true".to_owned(),
        "unshare -m true".to_owned(),
        "kill -0 1234567".to_owned(),
        "getent hosts deb.debian.org".to_owned(),
        "hostname x".to_owned(),
        "nsenter -t 1 -m true".to_owned(),
        "echo 1 > /proc/sys/vm/drop_caches".to_owned(),
        "ls /dev/vda".to_owned(),
        "losetup -f /etc/hostname".to_owned(),
    ];
    for script in &refused {
        let outcome = target.run(&strict(script, view.clone()))?;
        assert!(!outcome.finished.success(), "{script}: {}", outcome.stdout);
    }
    let script = format!(
        "cat {shown}/hook && id -u && ls /proc | grep -c '^[0-9]' && echo kept > {written}/made && echo x > /tmp/x &&
         cd {root} && install -o 5 -g 6 -m 4755 /bin/true made && stat -c %u:%g:%a made && cat etc/shadow | head -c 4 &&
         chroot {root} sh -c 'echo in > /etc/in; stat -c %u /etc/in'"
    );
    let outcome = target.run(&strict(&script, view))?;
    assert_eq!(
        (outcome.stdout.as_str(), outcome.stderr.as_str()),
        ("there\n0\n4\n5:6:4755\nroot0\n", ""),
        "{:?}",
        outcome.finished
    );
    let upper: PathBuf = target.tree.layers().last().unwrap().upper.clone();
    let made = std::fs::metadata(upper.join("made"))?;
    assert_eq!((made.uid(), made.gid(), made.mode() & 0o7777), (5, 6, 0o4755));
    assert_eq!(std::fs::metadata(upper.join("etc/in"))?.uid(), 0);
    Ok(())
}

#[test]
fn its_network_can_be_a_listener_of_ours() -> Result<()> {
    let Some(mut target) = SandboxTarget::new("its_network_can_be_a_listener_of_ours", PROBE)? else {
        return Ok(());
    };
    let network = NetworkNamespace::create()?;
    let listener = network.listen("127.0.0.1:3128".parse()?)?;
    let server = std::thread::spawn(move || -> std::io::Result<String> {
        let (mut stream, _) = listener.accept()?;
        let mut asked = [0; 3];
        stream.read_exact(&mut asked)?;
        stream.write_all(b"answer\n")?;
        Ok(String::from_utf8_lossy(&asked).into_owned())
    });
    let script = "exec 3<>/dev/tcp/127.0.0.1/3128; printf ask >&3; cat <&3; ! true </dev/tcp/1.1.1.1/53";
    let mut command = strict(script, HostView::default());
    command.argv[0] = "bash".to_owned();
    command.extras.netns = Some(network.proc_path());
    let outcome = target.run(&command)?;
    assert_eq!((outcome.finished.status, outcome.stdout.as_str()), (Status::Exited(0), "answer\n"));
    assert_eq!(server.join().expect("the server lives")?, "ask");
    Ok(())
}

#[test]
fn bootstrap_works() -> Result<()> {
    let Some(mut target) = SandboxTarget::new("strict_bootstrap_works", PROBE)? else { return Ok(()) };
    if std::net::TcpStream::connect("deb.debian.org:80").is_err() {
        eprintln!("SKIPPED strict_bootstrap_works: needs the Debian mirror");
        return Ok(());
    }
    let work = tempfile::tempdir_in("/var/tmp")?;
    let mut tree = dibw_sys::overlay::TargetTree::new(work.path())?;
    tree.begin_layer("root")?;
    std::mem::swap(&mut target.tree, &mut tree);
    let root = target.tree.mount_point().to_owned();
    let script = format!(
        "mmdebstrap --mode=root --skip=chroot/mount --variant=minbase bookworm {} http://deb.debian.org/debian",
        root.display()
    );
    let mut command =
        strict(&script, HostView { hidden: vec![work.path().to_owned()], ..HostView::default() });
    command.extras.network = Network::Host;
    let outcome = target.run(&command)?;
    assert_eq!(outcome.finished.status, Status::Exited(0), "{}", outcome.finished.tail.join("\n"));
    target.tree.begin_layer("install")?;
    assert_eq!(
        target.shell(". /etc/os-release; echo $VERSION_CODENAME; stat -c %u:%g /etc/shadow")?.stdout,
        "bookworm\n0:42\n"
    );
    Ok(())
}
