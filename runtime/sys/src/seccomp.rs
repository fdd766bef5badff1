//! Owns the system call filter: from the denials of a cage to the kernel's BPF, and its installation.
//! Must not know why a call is denied. Called by `entry`, in the init of a sandbox, when all else is done.
//!
//! Own BPF and not the `seccompiler` crate's: that knows one action per filter, none that asks a supervisor, and lets calls of the
//! x32 interface through. Numbers are compared before any argument is loaded, so that the kernel sees which calls always pass and
//! runs no filter for them at all (since Linux 5.11).
#![expect(unsafe_code, reason = "seccomp(2) has no safe wrapper")]

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use anyhow::{Context, Result};
use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET, BPF_W,
    SECCOMP_FILTER_FLAG_NEW_LISTENER, SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, SECCOMP_RET_ALLOW,
    SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_USER_NOTIF, SECCOMP_SET_MODE_FILTER,
    sock_filter,
};
use rustix::io::Errno;

use crate::syscalls::{Denial, Then, When};

/// `AUDIT_ARCH_X86_64` of `linux/audit.h`.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xC000_003E;
/// `AUDIT_ARCH_AARCH64` of `linux/audit.h`.
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xC000_00B7;

/// `__X32_SYSCALL_BIT` of `asm/unistd.h`; no other architecture has numbers this high.
const X32: u32 = 0x4000_0000;

// Where things are in `struct seccomp_data`, little-endian.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
const ARGUMENTS_AT: u32 = 16;

/// Whether somebody answers the calls that are to be reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Observer {
    /// The holder of the filter's listener.
    Listener,
    /// Nobody: denied calls fail at once.
    Nobody,
}

/// Filters all further calls of this process and its children, for ever. Returns the listener that must answer the denied ones;
/// none when the kernel has no listeners (before 5.0), or an outer sandbox has one already.
pub(crate) fn install(denials: &[&Denial]) -> Result<Option<OwnedFd>> {
    let observed = program(denials, Observer::Listener);
    for more in [SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, 0] {
        match set_filter(&observed, SECCOMP_FILTER_FLAG_NEW_LISTENER | more) {
            // SAFETY: with this flag the answer is a new descriptor, which nobody else owns.
            Ok(listener) => return Ok(Some(unsafe { OwnedFd::from_raw_fd(listener) })),
            Err(Errno::INVAL | Errno::BUSY) => {}
            Err(error) => return Err(error).context("install the system call filter"),
        }
    }
    let plain = program(denials, Observer::Nobody);
    set_filter(&plain, 0).context("install the system call filter")?;
    Ok(None)
}

fn set_filter(program: &[sock_filter], flags: libc::c_ulong) -> Result<RawFd, Errno> {
    let length = u16::try_from(program.len()).map_err(|_| Errno::TOOBIG)?;
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // SAFETY: the program is valid for the call, which copies it.
    let answer =
        unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    if answer < 0 {
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO));
    }
    RawFd::try_from(answer).map_err(|_| Errno::OVERFLOW)
}

/// Whether denied calls can be observed here.
///
/// # Errors
/// When the kernel knows no filters, or none with a listener.
pub(crate) fn available() -> Result<()> {
    let action = SECCOMP_RET_USER_NOTIF;
    // SAFETY: the kernel reads one number, which outlives the call.
    let answer =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) };
    match answer {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()).context("filters with a listener (Linux 5.0)"),
    }
}

/// The filter.
pub(crate) fn program(denials: &[&Denial], observer: Observer) -> Vec<sock_filter> {
    let mut code = vec![
        load(ARCHITECTURE_AT),
        jump(BPF_JEQ, ARCHITECTURE, 1, 0),
        give(SECCOMP_RET_KILL_PROCESS),
        load(NUMBER_AT),
        jump(BPF_JGE, X32, 0, 1),
        give(fail(libc::ENOSYS)),
    ];
    for denial in denials {
        let Some(action) = action(denial.then, observer) else { continue };
        let block = block(&denial.when, action);
        let number = u32::try_from(denial.number).expect("system calls have small numbers");
        code.push(jump(BPF_JEQ, number, 0, short(block.len())));
        code.extend(block);
    }
    code.push(give(SECCOMP_RET_ALLOW));
    code
}

/// None when there is nothing to do without an observer: what can't be reached fails by itself.
fn action(then: Then, observer: Observer) -> Option<u32> {
    match (then, observer) {
        (Then::Fail(errno), _) | (Then::Report(errno), Observer::Nobody) => Some(fail(errno)),
        (Then::Report(_) | Then::Unreachable(_), Observer::Listener) => Some(SECCOMP_RET_USER_NOTIF),
        (Then::Unreachable(_), Observer::Nobody) => None,
    }
}

/// What is done once the number fits. It ends the filter in any case.
fn block(when: &When, action: u32) -> Vec<sock_filter> {
    let (mut code, otherwise) = match *when {
        When::Always => return vec![give(action)],
        When::AnyBit { argument, bits } => {
            (vec![load(low(argument)), jump(BPF_JSET, bits, 1, 0)], SECCOMP_RET_ALLOW)
        }
        When::OneOf { argument, mask, values } => {
            let masked = vec![load(low(argument)), statement(BPF_ALU | BPF_AND | BPF_K, mask)];
            ([masked, any_of(values)].concat(), SECCOMP_RET_ALLOW)
        }
        When::NoneOf { argument, values } => {
            ([vec![load(low(argument))], any_of(values)].concat(), SECCOMP_RET_ALLOW)
        }
        When::NotNull { argument } => (
            vec![
                load(low(argument)),
                jump(BPF_JEQ, 0, 0, 3),
                load(low(argument) + 4),
                jump(BPF_JEQ, 0, 0, 1),
            ],
            SECCOMP_RET_ALLOW,
        ),
    };
    let swapped = matches!(when, When::NoneOf { .. });
    let (missed, hit) = if swapped { (action, otherwise) } else { (otherwise, action) };
    code.extend([give(missed), give(hit)]);
    code
}

/// Goes to the instruction after the next when the accumulator is one of `values`, else to the next.
fn any_of(values: &[u32]) -> Vec<sock_filter> {
    let last = values.len();
    values.iter().zip(1..).map(|(value, nth)| jump(BPF_JEQ, *value, short(last - nth + 1), 0)).collect()
}

fn low(argument: u8) -> u32 {
    ARGUMENTS_AT + 8 * u32::from(argument)
}

fn fail(errno: i32) -> u32 {
    SECCOMP_RET_ERRNO | errno.cast_unsigned()
}

fn load(at: u32) -> sock_filter {
    statement(BPF_LD | BPF_W | BPF_ABS, at)
}

fn give(action: u32) -> sock_filter {
    statement(BPF_RET | BPF_K, action)
}

fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter { code: opcode(code), jt: 0, jf: 0, k }
}

fn jump(condition: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: opcode(BPF_JMP | BPF_K | condition), jt, jf, k }
}

fn opcode(code: u32) -> u16 {
    u16::try_from(code).expect("classic BPF has small opcodes")
}

fn short(distance: usize) -> u8 {
    u8::try_from(distance).expect("blocks are short")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rustix::thread::CapabilitySet;

    use super::*;
    use crate::confined::Network;
    use crate::syscalls::Cage;

    const CAGES: [Cage; 3] = [Cage::Target(Network::None), Cage::Target(Network::Host), Cage::Host];

    /// What the kernel would do with this call: a small machine for the instructions that are used.
    fn run(program: &[sock_filter], architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let mut data = Vec::new();
        data.extend(number.to_le_bytes());
        data.extend(architecture.to_le_bytes());
        data.extend(0u64.to_le_bytes());
        arguments.iter().for_each(|argument| data.extend(argument.to_le_bytes()));
        let (mut at, mut accumulator) = (0, 0u32);
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            let code = u32::from(code);
            let go = |met: bool| usize::from(if met { jt } else { jf });
            if code == BPF_LD | BPF_W | BPF_ABS {
                let from = k as usize;
                accumulator = u32::from_le_bytes(data[from..from + 4].try_into().unwrap());
            } else if code == BPF_ALU | BPF_AND | BPF_K {
                accumulator &= k;
            } else if code == BPF_RET | BPF_K {
                return k;
            } else if code == BPF_JMP | BPF_K | BPF_JEQ {
                at += go(accumulator == k);
            } else if code == BPF_JMP | BPF_K | BPF_JGE {
                at += go(accumulator >= k);
            } else if code == BPF_JMP | BPF_K | BPF_JSET {
                at += go(accumulator & k != 0);
            } else {
                panic!("instruction {code:#x}");
            }
        }
    }

    fn number(call: libc::c_long) -> u32 {
        u32::try_from(call).unwrap()
    }

    #[test]
    fn each_call_is_listed_once_and_denied_as_it_says() {
        for cage in CAGES {
            let denials = cage.denials(CapabilitySet::empty());
            let numbers: BTreeSet<_> = denials.iter().map(|denial| denial.number).collect();
            assert_eq!(numbers.len(), denials.len());
            for (observer, reported) in [(Observer::Listener, SECCOMP_RET_USER_NOTIF), (Observer::Nobody, 0)]
            {
                let program = program(&denials, observer);
                for denial in &denials {
                    let (with, without) = examples(&denial.when);
                    let expected = match (denial.then, observer) {
                        (Then::Report(errno), Observer::Nobody) | (Then::Fail(errno), _) => fail(errno),
                        (Then::Unreachable(_), Observer::Nobody) => SECCOMP_RET_ALLOW,
                        (Then::Report(_) | Then::Unreachable(_), Observer::Listener) => reported,
                    };
                    let answer = |args| run(&program, ARCHITECTURE, number(denial.number), args);
                    for arguments in with {
                        assert_eq!(answer(arguments), expected, "{} {arguments:x?}", denial.name);
                    }
                    for arguments in without {
                        assert_eq!(answer(arguments), SECCOMP_RET_ALLOW, "{} {arguments:x?}", denial.name);
                    }
                }
            }
        }
    }

    /// Arguments for which a call is denied, and for which it is not.
    fn examples(when: &When) -> (Vec<[u64; 6]>, Vec<[u64; 6]>) {
        let at = |argument: u8, value: u64| {
            let mut arguments = [0; 6];
            arguments[usize::from(argument)] = value;
            arguments
        };
        // Bits that the kernel ignores for these.
        let high = 0xdead_beef_0000_0000;
        match *when {
            When::Always => (vec![[0; 6], [u64::MAX; 6]], Vec::new()),
            When::AnyBit { argument, bits } => {
                let each = (0..32).map(|bit| 1u64 << bit);
                let (with, without): (Vec<u64>, Vec<u64>) =
                    each.partition(|bit| bits & u32::try_from(*bit).unwrap() != 0);
                let with = with.into_iter().flat_map(|bit| [at(argument, bit), at(argument, bit | high)]);
                (with.collect(), without.into_iter().map(|bit| at(argument, bit)).collect())
            }
            When::OneOf { argument, mask, values } => {
                let with = values.iter().flat_map(|value| {
                    let value = u64::from(*value);
                    [value, value | high, value | u64::from(!mask)]
                });
                (with.map(|value| at(argument, value)).collect(), vec![at(argument, 0), at(argument, high)])
            }
            When::NoneOf { argument, values } => {
                let with = [40, 38, 17, 0x40000].map(|value| at(argument, value | high));
                (with.to_vec(), values.iter().map(|value| at(argument, u64::from(*value))).collect())
            }
            When::NotNull { argument } => {
                (vec![at(argument, 1), at(argument, 1 << 32), at(argument, u64::MAX)], vec![[0; 6]])
            }
        }
    }

    #[test]
    fn everything_else_passes_and_other_interfaces_do_not() {
        let denials = Cage::Target(Network::None).denials(CapabilitySet::empty());
        let program = program(&denials, Observer::Listener);
        for call in 0..600 {
            if denials.iter().all(|denial| number(denial.number) != call) {
                assert_eq!(run(&program, ARCHITECTURE, call, [u64::MAX; 6]), SECCOMP_RET_ALLOW, "{call}");
            }
        }
        for call in [X32, X32 | 1, X32 | 165, u32::MAX] {
            assert_eq!(run(&program, ARCHITECTURE, call, [0; 6]), fail(libc::ENOSYS), "{call:#x}");
        }
        // 32 bit calls, and those of another machine.
        for architecture in [0x4000_0003, 0x4000_0028, ARCHITECTURE ^ 1] {
            assert_eq!(run(&program, architecture, 0, [0; 6]), SECCOMP_RET_KILL_PROCESS);
        }
    }

    #[test]
    fn bootstrap_tools_keep_what_they_need() {
        let program = program(&Cage::Host.denials(CapabilitySet::SYS_CHROOT), Observer::Listener);
        let needed = [
            libc::SYS_mount,
            libc::SYS_umount2,
            libc::SYS_chroot,
            libc::SYS_pivot_root,
            libc::SYS_mknodat,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_clone,
            libc::SYS_clone3,
            libc::SYS_connect,
            libc::SYS_personality,
        ];
        for call in needed {
            assert_eq!(run(&program, ARCHITECTURE, number(call), [u64::MAX; 6]), SECCOMP_RET_ALLOW);
        }
    }
}
