//! The ways out of the `strict` sandbox that are more than one system call (SANDBOX.md 3.3 and 6.2): each is tried from within, and must
//! say what it says when it is closed. One that can't be tried says something else, and fails the test. Needs root.

use std::fs;
use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use dibw_sys::confined::{ConfinedCommand, Level, View};
use dibw_sys::limits::Limits;
use dibw_sys::process::Status;
use dibw_sys::sandbox::{Bind, BindAccess, BindOwners, Extras, Input, Network, SandboxCommand};
use dibw_tests::sandbox_target::{SandboxTarget, bare_environment, record, shell_command};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

const PROBE: &str = env!("CARGO_BIN_EXE_sandbox-probe");

/// (what it is, a shell script, all that it says on both outputs)
const WAYS: &[(&str, &str, &str)] = &[
    // Settings of the machine.
    (
        "panic setting",
        "echo 1 > /proc/sys/kernel/panic",
        "sh: 1: cannot create /proc/sys/kernel/panic: Permission denied\n",
    ),
    (
        "core pattern",
        "echo '|/tmp/x' > /proc/sys/kernel/core_pattern",
        "sh: 1: cannot create /proc/sys/kernel/core_pattern: Permission denied\n",
    ),
    (
        "module path",
        "(echo 1 > /proc/sys/kernel/modprobe) 2>/dev/null && echo written || echo refused",
        "refused\n",
    ),
    ("magic key", "(echo 1 > /proc/sysrq-trigger) 2>/dev/null && echo written || echo refused", "refused\n"),
    ("binary formats", "ls -A /proc/sys/fs/binfmt_misc", ""),
    (
        "more namespaces",
        "echo 9 > /proc/sys/user/max_user_namespaces",
        "sh: 1: cannot create /proc/sys/user/max_user_namespaces: Permission denied\n",
    ),
    ("no namespaces", "cat /proc/sys/user/max_*_namespaces | sort -u", "0\n"),
    (
        "interrupts",
        "echo 1 > /proc/irq/default_smp_affinity",
        "sh: 1: cannot create /proc/irq/default_smp_affinity: Permission denied\n",
    ),
    // The kernel's memory.
    ("kernel core", "head -c1 /proc/kcore 2>/dev/null | wc -c", "0\n"),
    ("kernel log", "cat /proc/kmsg", "cat: /proc/kmsg: Permission denied\n"),
    ("kernel addresses", "grep -vc '^0000000000000000 ' /proc/kallsyms", "0\n"),
    ("memory devices", "ls /dev/mem /dev/kmem /dev/port /dev/kmsg 2>&1 | grep -c 'No such file'", "4\n"),
    // Its own rights.
    (
        "capabilities",
        "sed -n 's/^Cap\\(Inh\\|Prm\\|Eff\\|Bnd\\|Amb\\):\\t//p' /proc/self/status | sort -u",
        "0000000000000000\n00000000800000fb\n",
    ),
    (
        "no new privileges, filtered",
        "sed -n 's/^\\(NoNewPrivs\\|Seccomp\\):\\t//p' /proc/self/status",
        "1\n2\n",
    ),
    (
        "ids",
        "cat /proc/self/uid_map /proc/self/gid_map | tr -s ' ' | sed 's/ [1-9][0-9]* 65536/ OWN 65536/'; cat /proc/self/setgroups",
        " 0 OWN 65536\n 0 OWN 65536\nallow\n",
    ),
    ("map more ids", "echo '0 0 1' > /proc/self/uid_map", "sh: 1: echo: echo: I/O error\n"),
    ("an id outside", "chown 65536 /tmp", "chown: changing ownership of '/tmp': Invalid argument\n"),
    (
        "become outside",
        "perl -e '$< = 65536; print $!{EINVAL} ? \"refused\\n\" : \"uid $<\\n\"'",
        "refused\n",
    ),
    (
        "a setuid program",
        "cp /usr/bin/id /tmp/suid; chmod 4755 /tmp/suid; perl -e '$< = $> = 65534; exec \"/tmp/suid\", \"-u\"'; rm /tmp/suid",
        "65534\n",
    ),
    (
        "the target's setuid programs",
        "perl -e '$< = $> = 65534; exec \"su\", \"-c\", \"id -u\"'",
        "Password: su: Authentication failure\n",
    ),
    ("less likely to be killed", "echo -1000 > /proc/self/oom_score_adj", "sh: 1: echo: echo: I/O error\n"),
    (
        "limits",
        "ulimit -c; ulimit -Hn 99999999",
        "0\nsh: 1: ulimit: error setting limit (Operation not permitted)\n",
    ),
    ("core dumps", "sed -n 's/^Max core file size *//p' /proc/self/limits | tr -s ' '", "1 1 bytes \n"),
    // Other processes.
    ("processes seen", "echo /proc/[0-9]*", "/proc/1 /proc/2\n"),
    (
        "descriptors",
        "perl -e 'opendir my $d, \"/proc/self/fd\"; print join(\" \", sort grep {/\\d/ && readlink(\"/proc/self/fd/$_\") !~ m{^/proc/\\d+/fd$}} readdir $d), \"\\n\"'",
        "0 1 2\n",
    ),
    ("the init's root", "ls /proc/1/root", "ls: cannot access '/proc/1/root': Permission denied\n"),
    (
        "the init's directory",
        "cat /proc/1/cwd/etc/passwd",
        "cat: /proc/1/cwd/etc/passwd: Permission denied\n",
    ),
    ("the init's program", "cat /proc/1/exe", "cat: /proc/1/exe: Permission denied\n"),
    (
        "the init's descriptors",
        "ls /proc/1/fd",
        "ls: cannot open directory '/proc/1/fd': Permission denied\n",
    ),
    ("the init's memory", "cat /proc/1/mem", "cat: /proc/1/mem: Permission denied\n"),
    ("the init's maps", "cat /proc/1/maps", "cat: /proc/1/maps: Permission denied\n"),
    ("the init's environment", "cat /proc/1/environ", "cat: /proc/1/environ: Permission denied\n"),
    (
        "the init's namespaces",
        "nsenter -t 1 -m true",
        "nsenter: cannot open /proc/1/ns/mnt: Permission denied\n",
    ),
    ("killing the init", "kill -9 1; kill -STOP 1; echo here", "here\n"),
    ("a terminal", "echo hi > /dev/tty", "sh: 1: cannot create /dev/tty: No such device or address\n"),
    // Files.
    ("above the root", "cd /; cd ../../..; pwd; stat -c %i / /.. | sort -u | wc -l", "/\n1\n"),
    ("above by descriptor", "stat -Lc %i /proc/self/root/.. /proc/self/root / | sort -u | wc -l", "1\n"),
    (
        "chroot breakout",
        "perl -e 'mkdir \"/tmp/j\"; chroot(\"/tmp/j\") or die \"chroot: $!\\n\"'; rmdir /tmp/j",
        "chroot: Operation not permitted\n",
    ),
    (
        "mounts seen",
        "cut -d' ' -f2 /proc/self/mounts | sort | tr '\\n' ' '",
        "/ /dev /dev/pts /dev/shm /proc \n",
    ),
    (
        "remount",
        "mount -o remount,suid,dev /",
        "mount: /: permission denied.\n       dmesg(1) may have more information after failed mount system call.\n",
    ),
    (
        "a disk",
        "mknod /tmp/disk b 7 0; cat /tmp/disk",
        "mknod: /tmp/disk: Operation not permitted\ncat: /tmp/disk: No such file or directory\n",
    ),
    ("a planted disk", "cat /planted-disk", "cat: /planted-disk: Permission denied\n"),
    (
        "a planted memory",
        "head -c1 /planted-memory",
        "head: cannot open '/planted-memory' for reading: Permission denied\n",
    ),
    ("the system's files", "ls /sys | wc -l", "0\n"),
    // The network.
    ("interfaces", "cut -d: -f1 /proc/net/dev | tail -n +3 | tr -d ' '", "lo\n"),
    ("routes", "tail -n +2 /proc/net/route", ""),
    (
        "raw packets",
        "perl -e 'use Socket; socket(my $s, PF_INET, SOCK_RAW, 1) or print \"$!\\n\"'",
        "Operation not permitted\n",
    ),
    ("a name", "getent hosts deb.debian.org || echo unknown", "unknown\n"),
    (
        "the host's abstract socket",
        "perl -e 'use Socket; socket(my $s, PF_UNIX, SOCK_STREAM, 0); connect($s, pack(\"S a*\", 1, \"\\0dibw-escape-ABSTRACT\")) or print \"$!\\n\"'",
        "Connection refused\n",
    ),
    ("the host's name", "cat /proc/sys/kernel/hostname", "localhost\n"),
];

#[test]
fn every_way_out_is_closed() -> Result<()> {
    let Some(mut target) = SandboxTarget::new("every_way_out_is_closed", PROBE)? else { return Ok(()) };
    let name = format!("dibw-escape-{}", std::process::id());
    let _listening = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
    let root = target.tree.mount_plain()?.to_owned();
    for (node, kind, device) in [
        ("planted-disk", FileType::BlockDevice, makedev(7, 0)),
        ("planted-memory", FileType::CharacterDevice, makedev(1, 1)),
    ] {
        mknodat(CWD, root.join(node), kind, Mode::from_raw_mode(0o666), device)?;
    }
    let mut open = Vec::new();
    for (way, script, expected) in WAYS {
        let outcome =
            target.shell(&format!("exec 2>&1; {}", script.replace("dibw-escape-ABSTRACT", &name)))?;
        if outcome.stdout != *expected {
            open.push(format!("{way}: {:?}, expected {expected:?}", outcome.stdout));
        }
    }
    assert!(open.is_empty(), "{open:#?}");
    Ok(())
}

#[test]
fn processes_of_the_host_are_out_of_reach() -> Result<()> {
    let Some(mut target) = SandboxTarget::new("processes_of_the_host_are_out_of_reach", PROBE)? else {
        return Ok(());
    };
    let script = format!("exec 2>&1; kill -0 {0}; ls -d /proc/{0}", std::process::id());
    let expected = format!(
        "sh: 1: kill: No such process\n\nls: cannot access '/proc/{}': No such file or directory\n",
        std::process::id()
    );
    assert_eq!(target.shell(&script)?.stdout, expected);
    Ok(())
}

#[test]
fn dibws_own_program_can_not_be_replaced() -> Result<()> {
    let Some(mut target) = SandboxTarget::new("dibws_own_program_can_not_be_replaced", PROBE)? else {
        return Ok(());
    };
    let before = fs::read(PROBE)?;
    // CVE-2019-5736: what starts the command is started again by the command, as a program that can be looked into.
    let evil = "printf '#!/proc/self/exe\\n' > /tmp/evil; chmod 755 /tmp/evil";
    assert!(target.shell(evil)?.finished.success());
    let command = SandboxCommand { argv: vec!["/tmp/evil".to_owned()], ..shell_command("") };
    match target.run(&command) {
        // Without Landlock it starts, and knows nothing to do.
        Ok(outcome) => assert!(!outcome.finished.success() && dibw_sys::probe::landlock().is_err()),
        Err(error) => assert_eq!(format!("{error:#}"), "/tmp/evil: not executable"),
    }
    // Given for reading it can be read, and no more: not through its link, and not under its own name.
    let bind = Bind {
        source: PROBE.into(),
        dest: "/tmp/dibw".into(),
        access: BindAccess::ReadWrite,
        owners: BindOwners::Foreign,
    };
    let script = "exec 2>&1; for f in /tmp/dibw /proc/self/exe; do echo x >> $f; done; chmod 777 /tmp/dibw; rm -f /tmp/dibw";
    let extras = Extras { binds: vec![bind], ..Extras::default() };
    let outcome = target.run(&SandboxCommand { extras, ..shell_command(script) })?;
    for refused in
        ["cannot create /tmp/dibw: Permission denied", "Operation not permitted", "Device or resource busy"]
    {
        assert!(outcome.stdout.contains(refused), "{refused:?}: {}", outcome.stdout);
    }
    assert!(fs::read(PROBE)? == before, "the program was changed");
    Ok(())
}

#[test]
fn a_program_of_another_architecture_is_killed_at_its_first_call() -> Result<()> {
    let test = "a_program_of_another_architecture_is_killed_at_its_first_call";
    let Some(mut target) = SandboxTarget::new(test, PROBE)? else { return Ok(()) };
    if cfg!(not(target_arch = "x86_64")) {
        eprintln!("SKIPPED {test}: the program is for x86_64");
        return Ok(());
    }
    let program = target.tree.mount_plain()?.join("old");
    fs::write(&program, i386_exit())?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    match target.run(&SandboxCommand { argv: vec!["/old".to_owned()], ..shell_command("") }) {
        // 31 is SIGSYS; 42 is what it wanted to exit with.
        Ok(outcome) => assert_eq!(outcome.finished.status, Status::Signalled(31)),
        // A kernel without 32 bit programs.
        Err(error) => assert!(format!("{error:#}").contains("nor a binary for this machine"), "{error:#}"),
    }
    Ok(())
}

/// The smallest i386 program: `exit(42)` by `int 0x80`.
fn i386_exit() -> Vec<u8> {
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let (base, headers) = (0x0804_8000_u32, 84);
    // mov eax, 1; mov ebx, 42; int 0x80
    let code = [0xb8, 1, 0, 0, 0, 0xbb, 42, 0, 0, 0, 0xcd, 0x80];
    let size = headers + u32::try_from(code.len()).unwrap_or(0);
    [
        b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x03\0".to_vec(),
        words(&[1, base + headers, 52, 0, 0]),
        vec![52, 0, 32, 0, 1, 0, 0, 0, 0, 0, 0, 0],
        words(&[1, 0, base, base, size, size, 5, 0x1000]),
        code.to_vec(),
    ]
    .concat()
}

#[test]
fn sockets_of_the_host_are_not_there() -> Result<()> {
    let Some(mut target) = SandboxTarget::new("sockets_of_the_host_are_not_there", PROBE)? else {
        return Ok(());
    };
    let path = target.dir.path().join("socket");
    let listener = UnixListener::bind(&path)?;
    listener.set_nonblocking(true)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777))?;
    let script = format!(
        "perl -e 'use Socket; socket(my $s, PF_UNIX, SOCK_STREAM, 0); connect($s, sockaddr_un(\"{}\")) or print \"$!\\n\"'",
        path.display()
    );
    assert_eq!(target.shell(&script)?.stdout, "No such file or directory\n");
    assert_eq!(listener.accept().map(drop).map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
    Ok(())
}

/// An abstract socket has no place in the file system: with a shared network only Landlock keeps a command from it.
#[test]
fn abstract_sockets_of_a_shared_network_are_out_of_reach() -> Result<()> {
    let test = "abstract_sockets_of_a_shared_network_are_out_of_reach";
    let Some(mut target) = SandboxTarget::new(test, PROBE)? else { return Ok(()) };
    if let Err(error) = dibw_sys::probe::landlock() {
        eprintln!("SKIPPED {test}: {error:#}");
        return Ok(());
    }
    let name = format!("dibw-shared-{}", std::process::id());
    let _listening = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
    let perl = |name: &str| {
        format!(
            "use Socket; socket(my $s, PF_UNIX, SOCK_STREAM, 0); \
             print connect($s, pack(\"S a*\", 1, \"\\0{name}\")) ? \"connected\\n\" : \"$!\\n\""
        )
    };
    let own = "use Socket; my $at = pack(\"S a*\", 1, \"\\0dibw-own\"); socket(my $l, PF_UNIX, SOCK_STREAM, 0); \
        bind($l, $at) or die; listen($l, 1) or die; socket(my $s, PF_UNIX, SOCK_STREAM, 0); connect($s, $at) or die; print \"own\\n\"";
    let argv = |script: String| ["perl".to_owned(), "-e".to_owned(), script].to_vec();
    for (script, expected) in [(perl(&name), "Operation not permitted\n"), (own.to_owned(), "own\n")] {
        let extras = Extras { network: Network::Host, ..Extras::default() };
        let outcome =
            target.run(&SandboxCommand { extras, argv: argv(script.clone()), ..shell_command("") })?;
        assert_eq!(outcome.stdout, expected, "{}", outcome.stderr);
        let confined = ConfinedCommand {
            argv: argv(script),
            env: bare_environment(),
            cwd: "/".into(),
            stdin: Input::Null,
            timeout: None,
            level: Level::Confined,
            view: View::default(),
            network: Network::Host,
            limits: Limits::default(),
        };
        let outcome = record(|on_line| target.runner.outside(&confined, on_line))?;
        assert_eq!(outcome.stdout, expected, "{}", outcome.stderr);
    }
    Ok(())
}

#[test]
fn no_two_builds_have_the_same_users() -> Result<()> {
    let test = "no_two_builds_have_the_same_users";
    let Some(one) = SandboxTarget::new(test, PROBE)? else { return Ok(()) };
    let Some(other) = SandboxTarget::new(test, PROBE)? else { return Ok(()) };
    let bases = [&one, &other].map(|target| target.runner.userns().base());
    assert!(bases[0] != 0 && bases[0].abs_diff(bases[1]) >= dibw_sys::userns::COUNT, "{bases:?}");
    Ok(())
}

#[test]
fn nothing_survives_the_command() -> Result<()> {
    let Some(mut target) = SandboxTarget::new("nothing_survives_the_command", PROBE)? else { return Ok(()) };
    let mark = format!("{}", 100_000 + std::process::id());
    let script =
        format!("for n in 1 2 3; do (trap '' TERM HUP INT; setsid sleep {mark} &) ; done; sleep {mark}");
    let command = SandboxCommand { timeout: Some(Duration::from_millis(500)), ..shell_command(&script) };
    assert_eq!(target.run(&command)?.finished.status, Status::TimedOut);
    let left = fs::read_dir("/proc")?.flatten().filter(|process| {
        fs::read(Path::new(&process.path()).join("cmdline"))
            .is_ok_and(|line| line == format!("sleep\0{mark}\0").as_bytes())
    });
    assert_eq!(left.count(), 0);
    Ok(())
}
