//! Owns which system calls a caged command may not make, what it is answered, and what is told of it.
//! Must not know BPF or processes. Read by `seccomp`, which makes the filter, and by `watch`, which answers and reports.
//!
//! From flatpak's list (`common/flatpak-run.c`) and SANDBOX.md 3.3, recipe item 6. Most of these calls fail without the needed
//! capability too: the filter also closes what bugs in them would open.

use libc::{
    AF_INET, AF_INET6, AF_NETLINK, AF_UNIX, CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS,
    CLONE_NEWPID, CLONE_NEWUSER, CLONE_NEWUTS, S_IFBLK, S_IFCHR, S_IFMT, c_long,
};

use rustix::thread::CapabilitySet;

use crate::confined::Network;

/// A system call that is denied, always or for some arguments.
#[derive(Debug)]
pub(crate) struct Denial {
    /// Its name in manuals.
    pub name: &'static str,
    pub number: c_long,
    pub when: When,
    pub then: Then,
    pub subject: Subject,
}

/// For which arguments a call is denied. Arguments are numbered from 0; all but `NotNull` look at the low 32 bits only, as the
/// kernel does for these (CVE-2019-10063).
#[derive(Debug)]
pub(crate) enum When {
    Always,
    /// Any of these bits is set.
    AnyBit {
        argument: u8,
        bits: u32,
    },
    /// The argument, masked, is one of these.
    OneOf {
        argument: u8,
        mask: u32,
        values: &'static [u32],
    },
    /// The argument is none of these.
    NoneOf {
        argument: u8,
        values: &'static [u32],
    },
    /// The argument, all 64 bits of it, is not 0.
    NotNull {
        argument: u8,
    },
}

/// What becomes of a denied call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// It fails with this number, and nobody is told: programs try it all the time and do something else then.
    Fail(i32),
    /// It fails with this number and is reported.
    Report(i32),
    /// The address decides. What goes outside fails with this number and is reported; what stays inside goes on.
    ///
    /// The command can change the address while it is looked at. That gains nothing: its network namespace has only `lo`.
    Unreachable(i32),
}

/// What is told of an attempt besides its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    Nothing,
    /// The path at this argument.
    Path(u8),
    /// The number at this argument.
    Number(u8),
    /// The namespaces at this argument.
    Namespaces(u8),
    /// The socket family at this argument.
    Family(u8),
    /// The terminal request at this argument.
    Terminal(u8),
    /// The socket address at this argument, as long as the next one says.
    Address(u8),
}

/// Who is caged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cage {
    /// A command in the target.
    Target(Network),
    /// A `confined` command on the host's root. It mounts, changes its root and makes nodes: bootstrap tools do.
    Host,
}

impl Cage {
    /// What it may not do with these capabilities; each call at most once, those that are made most often first.
    pub fn denials(self, held: CapabilitySet) -> Vec<&'static Denial> {
        let (own, network): (&[Denial], &[Denial]) = match self {
            Cage::Target(Network::None) => (TARGET, OFFLINE),
            Cage::Target(Network::Host) => (TARGET, &[]),
            Cage::Host => (&[], &[]),
        };
        let chroot = if held.contains(CapabilitySet::SYS_CHROOT) { &[] } else { CHROOT };
        [OFTEN, network, own, chroot, EVERYWHERE].into_iter().flatten().collect()
    }
}

/// `CLONE_NEWTIME` of `linux/sched.h`. For `clone` these bits mean a signal.
const CLONE_NEWTIME: u32 = 0x80;
const NAMESPACES: u32 = (CLONE_NEWNS
    | CLONE_NEWCGROUP
    | CLONE_NEWUTS
    | CLONE_NEWIPC
    | CLONE_NEWUSER
    | CLONE_NEWPID
    | CLONE_NEWNET)
    .cast_unsigned();

/// The names of namespace flags.
pub(crate) const NAMESPACE_NAMES: [(u32, &str); 8] = [
    (CLONE_NEWNS.cast_unsigned(), "mount"),
    (CLONE_NEWCGROUP.cast_unsigned(), "cgroup"),
    (CLONE_NEWUTS.cast_unsigned(), "uts"),
    (CLONE_NEWIPC.cast_unsigned(), "ipc"),
    (CLONE_NEWUSER.cast_unsigned(), "user"),
    (CLONE_NEWPID.cast_unsigned(), "pid"),
    (CLONE_NEWNET.cast_unsigned(), "net"),
    (CLONE_NEWTIME, "time"),
];

const FAMILIES: &[u32] =
    &[AF_UNIX.cast_unsigned(), AF_INET.cast_unsigned(), AF_INET6.cast_unsigned(), AF_NETLINK.cast_unsigned()];

/// The terminal requests that put words into somebody's mouth (`asm-generic/ioctls.h`).
pub(crate) const TERMINAL_NAMES: [(u32, &str); 2] = [(0x5412, "TIOCSTI"), (0x541C, "TIOCLINUX")];
const TERMINAL: &[u32] = &[TERMINAL_NAMES[0].0, TERMINAL_NAMES[1].0];

/// Linux, Linux with 32 bit names or an old version's number, and the question which it is; no layout of memory.
const PERSONALITIES: &[u32] = &[0, 0x8, 0x20000, 0x20008, u32::MAX];

/// `open_tree_attr`, of Linux 6.15; the C library has no name for it yet.
const OPEN_TREE_ATTR: c_long = 467;

/// Denied to all for some arguments, and used with others all the time.
static OFTEN: &[Denial] = &[
    Denial {
        when: When::OneOf { argument: 1, mask: u32::MAX, values: TERMINAL },
        ..denied("ioctl", libc::SYS_ioctl, Subject::Terminal(1))
    },
    family("socket", libc::SYS_socket),
    family("socketpair", libc::SYS_socketpair),
];

/// What reaches another machine, where there is none.
static OFFLINE: &[Denial] = &[
    Denial {
        then: Then::Unreachable(libc::ENETUNREACH),
        ..denied("connect", libc::SYS_connect, Subject::Address(1))
    },
    Denial {
        // Without an address it is `send`.
        when: When::NotNull { argument: 4 },
        then: Then::Unreachable(libc::ENETUNREACH),
        ..denied("sendto", libc::SYS_sendto, Subject::Address(4))
    },
];

/// Denied in the target only.
static TARGET: &[Denial] = &[
    // Every start of a thread or program tries it first, and it can't be told what for. `clone` is what they fall back to.
    Denial { then: Then::Fail(libc::ENOSYS), ..denied("clone3", libc::SYS_clone3, Subject::Nothing) },
    Denial {
        when: When::AnyBit { argument: 0, bits: NAMESPACES },
        ..denied("clone", libc::SYS_clone, Subject::Namespaces(0))
    },
    Denial {
        when: When::AnyBit { argument: 0, bits: NAMESPACES | CLONE_NEWTIME },
        ..denied("unshare", libc::SYS_unshare, Subject::Namespaces(0))
    },
    denied("setns", libc::SYS_setns, Subject::Namespaces(1)),
    Denial {
        when: When::OneOf { argument: 2, mask: S_IFMT, values: DEVICES },
        ..denied("mknodat", libc::SYS_mknodat, Subject::Path(1))
    },
    #[cfg(target_arch = "x86_64")]
    Denial {
        when: When::OneOf { argument: 1, mask: S_IFMT, values: DEVICES },
        ..denied("mknod", libc::SYS_mknod, Subject::Path(0))
    },
    denied("mount", libc::SYS_mount, Subject::Path(1)),
    denied("umount", libc::SYS_umount2, Subject::Path(0)),
    denied("pivot_root", libc::SYS_pivot_root, Subject::Path(0)),
    // As if the kernel were too old (CVE-2021-41133).
    absent("open_tree", libc::SYS_open_tree, Subject::Path(1)),
    absent("open_tree_attr", OPEN_TREE_ATTR, Subject::Path(1)),
    absent("move_mount", libc::SYS_move_mount, Subject::Path(3)),
    absent("fsopen", libc::SYS_fsopen, Subject::Path(0)),
    absent("fsconfig", libc::SYS_fsconfig, Subject::Nothing),
    absent("fsmount", libc::SYS_fsmount, Subject::Nothing),
    absent("fspick", libc::SYS_fspick, Subject::Path(1)),
    absent("mount_setattr", libc::SYS_mount_setattr, Subject::Path(1)),
    denied("sethostname", libc::SYS_sethostname, Subject::Nothing),
    denied("setdomainname", libc::SYS_setdomainname, Subject::Nothing),
    Denial {
        when: When::NoneOf { argument: 0, values: PERSONALITIES },
        ..denied("personality", libc::SYS_personality, Subject::Number(0))
    },
];

/// Denied to who has not the capability for it.
static CHROOT: &[Denial] = &[denied("chroot", libc::SYS_chroot, Subject::Path(0))];

const DEVICES: &[u32] = &[S_IFBLK, S_IFCHR];

/// Denied to all.
static EVERYWHERE: &[Denial] = &[
    // The kernel itself.
    denied("init_module", libc::SYS_init_module, Subject::Nothing),
    denied("finit_module", libc::SYS_finit_module, Subject::Nothing),
    denied("delete_module", libc::SYS_delete_module, Subject::Path(0)),
    denied("kexec_load", libc::SYS_kexec_load, Subject::Nothing),
    denied("kexec_file_load", libc::SYS_kexec_file_load, Subject::Nothing),
    denied("reboot", libc::SYS_reboot, Subject::Nothing),
    denied("bpf", libc::SYS_bpf, Subject::Number(0)),
    denied("perf_event_open", libc::SYS_perf_event_open, Subject::Nothing),
    denied("userfaultfd", libc::SYS_userfaultfd, Subject::Nothing),
    denied("io_uring_setup", libc::SYS_io_uring_setup, Subject::Nothing),
    denied("io_uring_enter", libc::SYS_io_uring_enter, Subject::Nothing),
    denied("io_uring_register", libc::SYS_io_uring_register, Subject::Nothing),
    denied("syslog", libc::SYS_syslog, Subject::Number(0)),
    // Other processes, and what they own.
    denied("ptrace", libc::SYS_ptrace, Subject::Number(1)),
    denied("process_vm_readv", libc::SYS_process_vm_readv, Subject::Number(0)),
    denied("process_vm_writev", libc::SYS_process_vm_writev, Subject::Number(0)),
    denied("process_madvise", libc::SYS_process_madvise, Subject::Nothing),
    denied("kcmp", libc::SYS_kcmp, Subject::Number(0)),
    denied("pidfd_getfd", libc::SYS_pidfd_getfd, Subject::Nothing),
    denied("move_pages", libc::SYS_move_pages, Subject::Number(0)),
    denied("migrate_pages", libc::SYS_migrate_pages, Subject::Number(0)),
    denied("keyctl", libc::SYS_keyctl, Subject::Number(0)),
    denied("add_key", libc::SYS_add_key, Subject::Path(0)),
    denied("request_key", libc::SYS_request_key, Subject::Path(0)),
    // Files without a path (CVE-2014-9357, the "shocker").
    denied("open_by_handle_at", libc::SYS_open_by_handle_at, Subject::Nothing),
    // The machine.
    denied("swapon", libc::SYS_swapon, Subject::Path(0)),
    denied("swapoff", libc::SYS_swapoff, Subject::Path(0)),
    denied("quotactl", libc::SYS_quotactl, Subject::Path(1)),
    denied("quotactl_fd", libc::SYS_quotactl_fd, Subject::Nothing),
    denied("acct", libc::SYS_acct, Subject::Path(0)),
    denied("settimeofday", libc::SYS_settimeofday, Subject::Nothing),
    denied("clock_settime", libc::SYS_clock_settime, Subject::Number(0)),
    denied("clock_adjtime", libc::SYS_clock_adjtime, Subject::Number(0)),
    denied("adjtimex", libc::SYS_adjtimex, Subject::Nothing),
    denied("lookup_dcookie", libc::SYS_lookup_dcookie, Subject::Nothing),
    #[cfg(target_arch = "x86_64")]
    denied("iopl", libc::SYS_iopl, Subject::Number(0)),
    #[cfg(target_arch = "x86_64")]
    denied("ioperm", libc::SYS_ioperm, Subject::Number(0)),
    #[cfg(target_arch = "x86_64")]
    denied("modify_ldt", libc::SYS_modify_ldt, Subject::Number(0)),
    #[cfg(target_arch = "x86_64")]
    denied("uselib", libc::SYS_uselib, Subject::Path(0)),
];

const fn denied(name: &'static str, number: c_long, subject: Subject) -> Denial {
    Denial { name, number, when: When::Always, then: Then::Report(libc::EPERM), subject }
}

const fn absent(name: &'static str, number: c_long, subject: Subject) -> Denial {
    Denial { name, number, when: When::Always, then: Then::Report(libc::ENOSYS), subject }
}

const fn family(name: &'static str, number: c_long) -> Denial {
    Denial {
        name,
        number,
        when: When::NoneOf { argument: 0, values: FAMILIES },
        then: Then::Report(libc::EAFNOSUPPORT),
        subject: Subject::Family(0),
    }
}
