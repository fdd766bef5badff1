//! Every system call that the filters deny is tried from within (SANDBOX.md 3.3 and 6.2): each fails as it should and is accounted.
//! A call that was not tried fails the test. Needs root.

use anyhow::Result;
use dibw_sys::confined::{ConfinedCommand, Level, View};
use dibw_sys::sandbox::{Extras, Network, SandboxCommand};
use dibw_tests::sandbox_target::{SandboxTarget, bare_environment, record, shell_command};
use dibw_tests::syscall_probe::{Probe, denied, failures, program};

const PROBE: &str = env!("CARGO_BIN_EXE_sandbox-probe");

/// Denied in every cage.
const EVERYWHERE: &[Probe] = &[
    denied("init_module", libc::SYS_init_module, "$room, 1, $room", "EPERM", ""),
    denied("finit_module", libc::SYS_finit_module, "$fd, $room, 0", "EPERM", ""),
    denied("delete_module", libc::SYS_delete_module, "'loop', 0", "EPERM", "loop"),
    denied("kexec_load", libc::SYS_kexec_load, "0, 0, 0, 0", "EPERM", ""),
    denied("kexec_file_load", libc::SYS_kexec_file_load, "$fd, -1, 0, 0, 8", "EPERM", ""),
    denied("reboot", libc::SYS_reboot, "0xfee1dead, 672274793, 0, 0", "EPERM", ""),
    denied("bpf", libc::SYS_bpf, "0, $room, 64", "EPERM", "0x0"),
    denied("perf_event_open", libc::SYS_perf_event_open, "$room, 0, -1, -1, 0", "EPERM", ""),
    denied("userfaultfd", libc::SYS_userfaultfd, "1", "EPERM", ""),
    denied("io_uring_setup", libc::SYS_io_uring_setup, "4, $room", "EPERM", ""),
    denied("io_uring_enter", libc::SYS_io_uring_enter, "0, 0, 0, 0, 0, 0", "EPERM", ""),
    denied("io_uring_register", libc::SYS_io_uring_register, "0, 0, 0, 0", "EPERM", ""),
    denied("syslog", libc::SYS_syslog, "3, $room, 256", "EPERM", "0x3"),
    denied("ptrace", libc::SYS_ptrace, "16, 1, 0, 0", "EPERM", "0x1"),
    denied("process_vm_readv", libc::SYS_process_vm_readv, "1, $room, 1, $room, 1, 0", "EPERM", "0x1"),
    denied("process_vm_writev", libc::SYS_process_vm_writev, "1, $room, 1, $room, 1, 0", "EPERM", "0x1"),
    denied("process_madvise", libc::SYS_process_madvise, "$fd, $room, 1, 4, 0", "EPERM", ""),
    denied("kcmp", libc::SYS_kcmp, "1, 1, 0, 0, 0", "EPERM", "0x1"),
    denied("pidfd_getfd", libc::SYS_pidfd_getfd, "$fd, 0, 0", "EPERM", ""),
    denied("move_pages", libc::SYS_move_pages, "1, 0, 0, 0, 0, 0", "EPERM", "0x1"),
    denied("migrate_pages", libc::SYS_migrate_pages, "1, 0, 0, 0", "EPERM", "0x1"),
    denied("keyctl", libc::SYS_keyctl, "0, -3, 0", "EPERM", "0x0"),
    denied("add_key", libc::SYS_add_key, "'user', 'dibw', $room, 1, -3", "EPERM", "user"),
    denied("request_key", libc::SYS_request_key, "'user', 'dibw', 0, 0", "EPERM", "user"),
    denied("open_by_handle_at", libc::SYS_open_by_handle_at, "$fd, $room, 0", "EPERM", ""),
    denied("swapon", libc::SYS_swapon, "'/tmp/swap', 0", "EPERM", "/tmp/swap"),
    denied("swapoff", libc::SYS_swapoff, "'/tmp/swap'", "EPERM", "/tmp/swap"),
    denied("quotactl", libc::SYS_quotactl, "0x800001, '/dev/none', 0, $room", "EPERM", "/dev/none"),
    denied("quotactl_fd", libc::SYS_quotactl_fd, "$fd, 0x800001, 0, $room", "EPERM", ""),
    denied("acct", libc::SYS_acct, "'/tmp/acct'", "EPERM", "/tmp/acct"),
    denied("settimeofday", libc::SYS_settimeofday, "$room, 0", "EPERM", ""),
    denied("clock_settime", libc::SYS_clock_settime, "0, $room", "EPERM", "0x0"),
    denied("clock_adjtime", libc::SYS_clock_adjtime, "0, $room", "EPERM", "0x0"),
    denied("adjtimex", libc::SYS_adjtimex, "$room", "EPERM", ""),
    denied("lookup_dcookie", libc::SYS_lookup_dcookie, "0, 0, 0", "EPERM", ""),
    denied("ioctl", libc::SYS_ioctl, "0, 0x5412, 'x'", "EPERM", "TIOCSTI"),
    denied("ioctl", libc::SYS_ioctl, "0, 0x541C, $room", "EPERM", "TIOCLINUX"),
    // The kernel looks at 32 bits of the request (CVE-2019-10063).
    denied("ioctl", libc::SYS_ioctl, "0, 0x100005412, 'x'", "EPERM", "TIOCSTI"),
    denied("socket", libc::SYS_socket, "17, 3, 0", "EAFNOSUPPORT", "AF_PACKET"),
    denied("socket", libc::SYS_socket, "38, 5, 0", "EAFNOSUPPORT", "AF_ALG"),
    denied("socket", libc::SYS_socket, "40, 1, 0", "EAFNOSUPPORT", "AF_VSOCK"),
    denied("socket", libc::SYS_socket, "31, 3, 1", "EAFNOSUPPORT", "AF_BLUETOOTH"),
    denied("socket", libc::SYS_socket, "15, 3, 2", "EAFNOSUPPORT", "family 15"),
    denied("socketpair", libc::SYS_socketpair, "30, 1, 0, $room", "EAFNOSUPPORT", "family 30"),
    #[cfg(target_arch = "x86_64")]
    denied("iopl", libc::SYS_iopl, "3", "EPERM", "0x3"),
    #[cfg(target_arch = "x86_64")]
    denied("ioperm", libc::SYS_ioperm, "0x3f8, 1, 1", "EPERM", "0x3f8"),
    #[cfg(target_arch = "x86_64")]
    denied("modify_ldt", libc::SYS_modify_ldt, "0, $room, 16", "EPERM", "0x0"),
    #[cfg(target_arch = "x86_64")]
    denied("uselib", libc::SYS_uselib, "'/tmp/lib'", "EPERM", "/tmp/lib"),
    // getpid of the x32 interface; no account, since no such call is ever made by mistake.
    Probe { name: "x32", number: 0x4000_0000 + 39, arguments: "0", error: "ENOSYS", attempt: None },
];

/// Denied in the target.
const TARGET: &[Probe] = &[
    denied("mount", libc::SYS_mount, "'none', '/mnt', 'tmpfs', 0, 0", "EPERM", "/mnt"),
    denied("mount", libc::SYS_mount, "'overlay', '/media', 'overlay', 0, 'lowerdir=/'", "EPERM", "/media"),
    denied("mount", libc::SYS_mount, "'/proc', '/srv', 'none', 4096, 0", "EPERM", "/srv"),
    denied("mount", libc::SYS_mount, "'none', '/', 'none', 32, 0", "EPERM", "/"),
    denied("umount", libc::SYS_umount2, "'/proc', 2", "EPERM", "/proc"),
    denied("pivot_root", libc::SYS_pivot_root, "'/tmp', '/tmp'", "EPERM", "/tmp"),
    denied("chroot", libc::SYS_chroot, "'/tmp'", "EPERM", "/tmp"),
    denied("open_tree", libc::SYS_open_tree, "-100, '/', 1", "ENOSYS", "/"),
    denied("open_tree_attr", 467, "-100, '/', 1, $room, 32", "ENOSYS", "/"),
    denied("move_mount", libc::SYS_move_mount, "-100, '/tmp', -100, '/mnt', 0", "ENOSYS", "/mnt"),
    denied("fsopen", libc::SYS_fsopen, "'tmpfs', 0", "ENOSYS", "tmpfs"),
    denied("fsconfig", libc::SYS_fsconfig, "$fd, 6, 0, 0, 0", "ENOSYS", ""),
    denied("fsmount", libc::SYS_fsmount, "$fd, 0, 0", "ENOSYS", ""),
    denied("fspick", libc::SYS_fspick, "-100, '/', 0", "ENOSYS", "/"),
    denied("mount_setattr", libc::SYS_mount_setattr, "-100, '/', 0, $room, 32", "ENOSYS", "/"),
    denied("setns", libc::SYS_setns, "$fd, 0x20000", "EPERM", "mount"),
    denied("setns", libc::SYS_setns, "$fd, 0", "EPERM", ""),
    denied("unshare", libc::SYS_unshare, "0x10000000", "EPERM", "user"),
    denied("unshare", libc::SYS_unshare, "0x20000", "EPERM", "mount"),
    denied("unshare", libc::SYS_unshare, "0x40000000", "EPERM", "net"),
    denied("unshare", libc::SYS_unshare, "0x20000000", "EPERM", "pid"),
    denied("unshare", libc::SYS_unshare, "0x80", "EPERM", "time"),
    denied("clone", libc::SYS_clone, "0x10000011, 0, 0, 0, 0", "EPERM", "user"),
    denied("clone", libc::SYS_clone, "0x10020011, 0, 0, 0, 0", "EPERM", "mount user"),
    Probe {
        name: "clone3",
        number: libc::SYS_clone3,
        arguments: "$room, 88",
        error: "ENOSYS",
        attempt: None,
    },
    denied("mknodat", libc::SYS_mknodat, "-100, '/tmp/disk', 0x6000, 0x700", "EPERM", "/tmp/disk"),
    denied("mknodat", libc::SYS_mknodat, "-100, '/tmp/mem', 0x21ff, 0x101", "EPERM", "/tmp/mem"),
    #[cfg(target_arch = "x86_64")]
    denied("mknod", libc::SYS_mknod, "'/tmp/disk', 0x61ff, 0x700", "EPERM", "/tmp/disk"),
    denied("sethostname", libc::SYS_sethostname, "'elsewhere', 9", "EPERM", ""),
    denied("setdomainname", libc::SYS_setdomainname, "'elsewhere', 9", "EPERM", ""),
    // No random layout, and memory that is readable is executable.
    denied("personality", libc::SYS_personality, "0x40000", "EPERM", "0x40000"),
    denied("personality", libc::SYS_personality, "0x400000", "EPERM", "0x400000"),
];

/// Denied where there is no network. 53 is `domain`; the addresses are of RFC 5737 and 3849.
const OFFLINE: &str = "use Socket; socket(my $s, PF_INET, SOCK_STREAM, 0); \
    connect($s, pack_sockaddr_in(80, inet_aton('192.0.2.1'))) and die; print $!{ENETUNREACH} ? 'unreachable ' : $!; \
    socket(my $u, PF_INET, SOCK_DGRAM, 0); \
    defined send($u, 'x', 0, pack_sockaddr_in(53, inet_aton('198.51.100.7'))) and die; print $!{ENETUNREACH} ? 'unreachable ' : $!; \
    socket(my $i, PF_INET6, SOCK_STREAM, 0); \
    connect($i, pack_sockaddr_in6(443, \"\\x20\\x01\\x0d\\xb8\" . \"\\0\" x 11 . \"\\1\")) and die; print $!{ENETUNREACH} ? 'unreachable ' : $!; \
    socket(my $l, PF_INET, SOCK_STREAM, 0); bind($l, pack_sockaddr_in(0, INADDR_LOOPBACK)) or die; listen($l, 1) or die; \
    my ($port) = sockaddr_in(getsockname($l)); \
    socket(my $c, PF_INET, SOCK_STREAM, 0); connect($c, pack_sockaddr_in($port, INADDR_LOOPBACK)) or die \"lo: $!\"; print 'lo ';\
    socket(my $x, PF_UNIX, SOCK_STREAM, 0); bind($x, sockaddr_un('/tmp/socket')) or die; listen($x, 1) or die; \
    socket(my $y, PF_UNIX, SOCK_STREAM, 0); connect($y, sockaddr_un('/tmp/socket')) or die \"unix: $!\"; print 'unix'; \
    unlink '/tmp/socket';";

fn perl(script: &str) -> SandboxCommand {
    SandboxCommand { argv: ["perl", "-e", script].map(str::to_owned).to_vec(), ..shell_command("") }
}

#[test]
fn denied_calls_fail_in_the_target_and_are_accounted() -> Result<()> {
    let test = "denied_calls_fail_in_the_target_and_are_accounted";
    let Some(mut target) = SandboxTarget::new(test, PROBE)? else { return Ok(()) };
    for network in [Network::None, Network::Host] {
        for probes in [EVERYWHERE, TARGET] {
            let extras = Extras { network, ..Extras::default() };
            let outcome = target.run(&SandboxCommand { extras, ..perl(&program(probes)) })?;
            let failures = failures(probes, &outcome.stdout, &outcome.finished.attempts);
            assert_eq!(failures, Vec::<String>::new(), "{}", outcome.stderr);
        }
    }
    Ok(())
}

#[test]
fn denied_calls_fail_when_confined_and_mounting_does_not() -> Result<()> {
    let test = "denied_calls_fail_when_confined_and_mounting_does_not";
    let Some(target) = SandboxTarget::new(test, PROBE)? else { return Ok(()) };
    let confined = |argv: [&str; 3]| ConfinedCommand {
        argv: argv.map(str::to_owned).to_vec(),
        env: bare_environment(),
        cwd: target.dir.path().to_owned(),
        stdin: dibw_sys::sandbox::Input::Null,
        timeout: None,
        level: Level::Confined,
        view: View { writable: vec![target.dir.path().to_owned()], ..View::default() },
        network: Network::None,
        limits: dibw_sys::limits::Limits::default(),
    };
    let probes = program(EVERYWHERE);
    let outcome = record(|on_line| target.runner.outside(&confined(["perl", "-e", &probes]), on_line))?;
    let failures = failures(EVERYWHERE, &outcome.stdout, &outcome.finished.attempts);
    assert_eq!(failures, Vec::<String>::new(), "{}", outcome.stderr);

    let bootstrap = "set -e; mkdir m; mount -t tmpfs x m; mknod m/null c 1 3; cp -a /bin/busybox m/ 2>/dev/null || true; \
        unshare -m true; umount m; chroot / true; setarch -R true; echo done";
    let outcome = record(|on_line| target.runner.outside(&confined(["sh", "-c", bootstrap]), on_line))?;
    assert_eq!(
        (outcome.stdout.as_str(), outcome.finished.attempts),
        ("done\n", vec![]),
        "{}",
        outcome.stderr
    );
    Ok(())
}

#[test]
fn what_would_reach_another_machine_is_accounted() -> Result<()> {
    let Some(mut target) = SandboxTarget::new("what_would_reach_another_machine_is_accounted", PROBE)? else {
        return Ok(());
    };
    let outcome = target.run(&perl(OFFLINE))?;
    let expected = "unreachable unreachable unreachable lo unix\n";
    assert_eq!(outcome.stdout, expected, "{}", outcome.stderr);
    let attempts: Vec<_> =
        outcome.finished.attempts.iter().map(|a| (a.what.as_str(), a.subject.as_str(), a.count)).collect();
    let expected = [
        ("connect", "192.0.2.1:80", 1),
        ("connect", "[2001:db8::1]:443", 1),
        ("sendto", "198.51.100.7:53", 1),
    ];
    assert_eq!(attempts, expected);
    Ok(())
}

#[test]
fn an_account_stays_small_and_honest_work_has_none() -> Result<()> {
    let Some(mut target) = SandboxTarget::new("an_account_stays_small_and_honest_work_has_none", PROBE)?
    else {
        return Ok(());
    };
    let flood = format!("for my $n (1 .. 3000) {{ my $p = \"/$n\"; syscall({}, $p) }}", libc::SYS_chroot);
    let outcome = target.run(&perl(&flood))?;
    let attempts = outcome.finished.attempts;
    assert_eq!(attempts.len(), dibw_sys::watch::MOST_ATTEMPTS);
    assert_eq!(attempts.iter().map(|attempt| attempt.count).sum::<u64>(), 3000);
    let hostile = format!("my $p = \"/a\\nb\\x1b[2J\\xff\" . 'c' x 9999; syscall({}, $p)", libc::SYS_chroot);
    let attempts = target.run(&perl(&hostile))?.finished.attempts;
    assert_eq!(attempts[0].subject, format!("/a\nb\u{1b}[2J\u{fffd}{}", "c".repeat(247)));
    let honest = "set -e; useradd -m somebody; ln -s a /tmp/b; mkfifo /tmp/f; chown somebody /tmp/f; (true | cat) & wait; \
        perl -e 'use threads' 2>/dev/null || true; dpkg -l >/dev/null; find /usr -perm -4000 >/dev/null; tar -C /etc -c . | tar -C /tmp -x";
    let outcome = target.shell(honest)?;
    assert_eq!(
        (outcome.finished.attempts, outcome.finished.status.code()),
        (vec![], 0),
        "{}",
        outcome.stderr
    );
    Ok(())
}
