//! What a command in the `strict` sandbox can't do: each way out is tried. Needs root.

use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::Result;
use dibw_sys::loops::{Access, LoopDevice};
use dibw_sys::process::{CannotStart, StartFailure, Status};
use dibw_sys::sandbox::{Bind, BindAccess, BindOwners, DeviceNode, Extras, Input, SandboxCommand, Sysfs};
use dibw_tests::sandbox_target::{SandboxTarget, shell_command};

const PROBE: &str = env!("CARGO_BIN_EXE_sandbox-probe");

/// Numbers of x86_64 system calls, for perl's `syscall`.
const MOUNT: u32 = 165;

#[test]
fn ways_out_are_closed() -> Result<()> {
    let Some(mut target) = SandboxTarget::new("ways_out_are_closed", PROBE)? else { return Ok(()) };
    let chroot_breakout = "perl -e 'mkdir \"/tmp/j\"; chroot(\"/tmp/j\") or die \"chroot: $!\\n\"'";
    let raw_mount = format!(
        "perl -e 'my ($a, $b, $c) = (\"none\", \"/mnt\", \"tmpfs\"); syscall({MOUNT}, $a, $b, $c, 0, 0) == 0 or die \"mount: $!\\n\"'"
    );
    // (what is tried, what the kernel says)
    let cases = [
        ("mount -t tmpfs none /mnt", "permission denied"),
        (raw_mount.as_str(), "mount: Operation not permitted"),
        ("mount -o remount,suid,dev /", "permission denied"),
        ("umount /proc", "must be superuser"),
        ("unshare -U true", "Operation not permitted"),
        ("unshare -m true", "Operation not permitted"),
        ("unshare -n true", "Operation not permitted"),
        (chroot_breakout, "chroot: Operation not permitted"),
        ("nsenter -t 1 -m true", "Permission denied"),
        ("echo 1 > /proc/sys/kernel/panic", "Permission denied"),
        ("echo x > /proc/sys/kernel/hostname", "Permission denied"),
        ("echo 100 > /proc/sys/user/max_user_namespaces", "Permission denied"),
        ("echo 1 > /proc/sys/net/ipv4/ip_forward", "Permission denied"),
        ("echo 1 > /proc/sys/vm/drop_caches", "Permission denied"),
        ("mknod /tmp/node b 7 0", "Operation not permitted"),
        ("hostname elsewhere", "you must be root"),
        ("ls /proc/1/fd", "Permission denied"),
        ("ls /proc/1/root", "Permission denied"),
        ("readlink /proc/1/exe", ""),
        ("echo hi > /dev/tty", "No such device or address"),
        ("cat /proc/kmsg", "Permission denied"),
    ];
    let mut got_out = Vec::new();
    for (script, message) in cases {
        let outcome = target.shell(script)?;
        if outcome.finished.success() || !outcome.stderr.contains(message) {
            got_out.push(format!("{script}: {} {}", outcome.finished.status, outcome.stderr));
        }
    }
    assert!(got_out.is_empty(), "{got_out:#?}");
    Ok(())
}

#[test]
fn its_world_is_small() -> Result<()> {
    let Some(mut target) = SandboxTarget::new("its_world_is_small", PROBE)? else { return Ok(()) };
    // A descriptor that any careless exec would inherit.
    let leak = std::fs::File::open("/etc/shadow")?;
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty())?;
    assert!(leak.as_raw_fd() > 2);
    let ids = format!(" 0 {} 65536\n", target.runner.userns().base());
    let cases = [
        ("id -u; id -g; id -G", "0\n0\n0\n"),
        // 3 is the directory that ls reads.
        ("ls /proc/self/fd", "0\n1\n2\n3\n"),
        ("echo /proc/[0-9]*", "/proc/1 /proc/2\n"),
        (
            "grep -E '^(Cap|NoNewPrivs)' /proc/self/status | tr '\\n\\t' ' :'",
            "CapInh::0000000000000000 CapPrm::00000000800000fb CapEff::00000000800000fb CapBnd::00000000800000fb CapAmb::0000000000000000 NoNewPrivs::1 \n",
        ),
        ("cat /proc/self/uid_map | tr -s ' '", &ids),
        (
            "ls /dev | tr '\\n' ' '",
            "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero \n",
        ),
        ("cut -d' ' -f2 /proc/mounts | sort | tr '\\n' ' '", "/ /dev /dev/pts /dev/shm /proc \n"),
        ("cut -d: -f1 /proc/net/dev | tail -n +3 | tr -d ' '", "lo\n"),
        ("cat /proc/sys/kernel/hostname", "localhost\n"),
        // Should the filter fail to see a way to make a namespace, there is none to be had.
        ("cat /proc/sys/user/max_*_namespaces | sort -u", "0\n"),
        ("ulimit -c; ulimit -n; umask", "0\n1024\n0022\n"),
        ("readlink /proc/self/cwd; echo $HOME; echo ${CARGO_MANIFEST_DIR-none}", "/\n/root\nnone\n"),
        ("ps 2>/dev/null; cat; echo nothing on stdin", "nothing on stdin\n"),
        ("echo out > /dev/stdout; echo err > /dev/stderr; head -c2 /dev/zero | wc -c", "out\n2\n"),
        ("kill -0 2147483 2>/dev/null || echo nobody", "nobody\n"),
    ];
    for (script, stdout) in cases {
        let outcome = target.shell(script)?;
        assert_eq!(outcome.stdout, stdout, "{script}\n{}", outcome.stderr);
    }
    drop(leak);
    Ok(())
}

#[test]
fn ends_are_reported() -> Result<()> {
    let Some(mut target) = SandboxTarget::new("ends_are_reported", PROBE)? else { return Ok(()) };
    for (script, status) in [
        ("exit 0", Status::Exited(0)),
        ("exit 7", Status::Exited(7)),
        ("kill -9 $$", Status::Signalled(9)),
        ("kill -9 1; exit 3", Status::Exited(3)),
    ] {
        assert_eq!(target.shell(script)?.finished.status, status, "{script}");
    }
    // Started in its own session; would hold the pipe and the mount for an hour if it survived.
    let outcome = target.shell("setsid sleep 3600 & echo started")?;
    assert_eq!((outcome.finished.status, outcome.stdout.as_str()), (Status::Exited(0), "started\n"));
    let late = SandboxCommand {
        timeout: Some(Duration::from_millis(300)),
        ..shell_command("setsid sleep 3600 & sleep 3600")
    };
    let outcome = target.run(&late)?;
    assert_eq!(outcome.finished.status, Status::TimedOut);
    assert!(outcome.finished.duration < Duration::from_secs(5));
    assert_eq!(sleepers(), 0);

    target.shell("echo 'echo no shebang' > /tmp/plain; printf '#!/no/such\\n' > /tmp/lost; chmod 755 /tmp/plain /tmp/lost; echo > /tmp/data")?;
    for (program, reason) in [
        ("/no/such", StartFailure::NotFound),
        ("no-such", StartFailure::NotFound),
        ("/tmp/lost", StartFailure::InterpreterMissing),
        ("/tmp/data", StartFailure::NotPermitted),
        ("/tmp", StartFailure::NotPermitted),
        ("/tmp/plain", StartFailure::NotAProgram),
    ] {
        let command = SandboxCommand { argv: vec![program.to_owned()], ..shell_command("") };
        let error = target.run(&command).expect_err(program);
        assert_eq!(
            error.downcast_ref::<CannotStart>().map(|error| error.reason),
            Some(reason),
            "{program}: {error:#}"
        );
    }
    let lost = SandboxCommand { cwd: "/no/such".into(), ..shell_command("true") };
    let message = format!("{:#}", target.run(&lost).expect_err("no such directory"));
    assert_eq!(message, "sandbox for `sh -c true`: enter /no/such: ENOENT: No such file or directory");
    Ok(())
}

#[test]
fn extras_come_by_name_and_leave_nothing() -> Result<()> {
    let Some(mut target) = SandboxTarget::new("extras_come_by_name_and_leave_nothing", PROBE)? else {
        return Ok(());
    };
    let hooks = target.dir.path().join("hooks");
    std::fs::create_dir(&hooks)?;
    std::fs::write(hooks.join("10-hook"), "a hook\n")?;
    let disk = tempfile::tempfile()?;
    disk.set_len(1 << 20)?;
    let device = LoopDevice::attach(&disk, 0, 1 << 20, 512, Access::ReadWrite)?;
    let bind = |dest: &str, access, owners| Bind { source: hooks.clone(), dest: dest.into(), access, owners };
    let extras = Extras {
        sysfs: Sysfs::ReadOnly,
        devices: vec![DeviceNode { host: device.path().to_owned(), name: "disk".to_owned() }],
        binds: vec![
            bind("/tmp/in_target.d", BindAccess::ReadOnly, BindOwners::Foreign),
            bind("/mnt", BindAccess::ReadWrite, BindOwners::Mapped),
        ],
        ..Extras::default()
    };
    let script = "cat /tmp/in_target.d/10-hook -; stat -c %u /tmp/in_target.d/10-hook /mnt/10-hook; \
        touch /tmp/in_target.d/x || touch /mnt/made; stat -c '%F %u %t' /dev/disk; printf data | dd of=/dev/disk conv=fsync status=none; ls /sys/class/net; touch /sys/x";
    let command = SandboxCommand { extras, stdin: Input::Bytes(b"fed\n".to_vec()), ..shell_command(script) };
    let outcome = target.run(&command)?;
    let expected = "a hook\nfed\n65534\n0\nblock special file 0 7\nlo\n";
    assert_eq!(outcome.stdout, expected, "{}", outcome.stderr);
    let mut written = [0; 4];
    std::os::unix::fs::FileExt::read_exact_at(&disk, &mut written, 0)?;
    assert_eq!(&written, b"data");
    device.detach()?;
    assert_eq!(outcome.stderr.matches("Read-only file system").count(), 2, "{}", outcome.stderr);
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(hooks.join("made"))?), 0);
    assert_eq!(target.shell("ls /tmp /mnt")?.stdout, "/mnt:\n\n/tmp:\n");
    Ok(())
}

/// Processes of the host that look like what the tests start and must not survive.
fn sleepers() -> usize {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter(|process| {
            std::fs::read(process.path().join("cmdline")).is_ok_and(|line| line == b"sleep\x003600\0")
        })
        .count()
}
