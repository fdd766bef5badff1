//! Owns answering the denied system calls of a caged command, and the account of what it tried.
//! Must not decide what is denied: `syscalls` does. Called by `entry`, in the keeper, which is outside of the sandbox and outlives
//! the command; the engine reads the [`Attempt`]s.
//!
//! What is read from the command's memory is for the account only. It may change between the look and the answer, so a call is let
//! through ([`Then::Unreachable`]) only where it is harmless whatever it says. When the keeper dies, the kernel closes the listener
//! and every denied call fails with ENOSYS.
#![expect(unsafe_code, reason = "seccomp ioctls and process_vm_readv have no safe wrapper")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::thread::CapabilitySet;
use serde::{Deserialize, Serialize};

use crate::syscalls::{Cage, Denial, NAMESPACE_NAMES, Subject, TERMINAL_NAMES, Then};

/// Something a command tried and was denied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The system call, such as `mount` or `connect`; [`OVERFLOW`] for what had no room any more.
    pub what: String,
    /// On what: a path, an address, a number; empty when there is nothing to say. It comes from the command: escape it.
    pub subject: String,
    /// How many times.
    pub count: u64,
}

/// The [`Attempt::what`] of those beyond the first [`MOST_ATTEMPTS`] different ones.
pub const OVERFLOW: &str = "others";

/// How many different attempts an account has room for.
pub const MOST_ATTEMPTS: usize = 1000;

/// Longest path that is told, in bytes.
const LONGEST_PATH: usize = 256;

/// What was tried, by name and subject.
#[derive(Debug, Default)]
pub(crate) struct Account {
    counts: BTreeMap<(String, String), u64>,
}

impl Account {
    /// One more.
    pub fn add(&mut self, what: &str, subject: String) {
        let key = (what.to_owned(), subject);
        if let Some(count) = self.counts.get_mut(&key) {
            *count += 1;
            return;
        }
        let full = self.counts.len() + 1 >= MOST_ATTEMPTS;
        let key = if full { (OVERFLOW.to_owned(), String::new()) } else { key };
        *self.counts.entry(key).or_default() += 1;
    }

    /// All of it, by name and subject.
    pub fn attempts(self) -> Vec<Attempt> {
        let counts = self.counts.into_iter();
        counts.map(|((what, subject), count)| Attempt { what, subject, count }).collect()
    }
}

/// The one who answers.
pub(crate) struct Watch {
    listener: OwnedFd,
    denials: Vec<&'static Denial>,
    account: Account,
}

/// Room for what newer kernels may append to a notification.
#[repr(C)]
struct Notification {
    call: libc::seccomp_notif,
    more: [u64; 32],
}

impl Watch {
    /// One for the listener of a filter for `cage`.
    pub fn new(listener: OwnedFd, cage: Cage) -> Self {
        // More than the filter asks about does no harm.
        let denials = cage.denials(CapabilitySet::empty());
        Self { listener, denials, account: Account::default() }
    }

    /// Readable when a call waits for an answer; hung up when no filtered process is left.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Answers one waiting call. A caller that dies meanwhile is no error.
    pub fn answer(&mut self) -> Result<()> {
        // SAFETY: zeros are a valid value of these plain numbers, and what the kernel asks for.
        let mut asked: Notification = unsafe { std::mem::zeroed() };
        if !self.ioctl(libc::SECCOMP_IOCTL_NOTIF_RECV, (&raw mut asked).cast()).context("take a call")? {
            return Ok(());
        }
        let call = asked.call;
        let denial = self.denials.iter().find(|denial| denial.number == libc::c_long::from(call.data.nr));
        let subject = denial.map(|denial| describe(denial.subject, &call));
        // What was read belongs to the caller only if it still waits: its pid may be another's by now.
        let mut id = call.id;
        if !self.ioctl(libc::SECCOMP_IOCTL_NOTIF_ID_VALID, (&raw mut id).cast()).context("check a call")? {
            return Ok(());
        }
        let goes_on = match denial.map(|denial| denial.then) {
            Some(Then::Unreachable(_)) => !matches!(&subject, Some(Described::Remote(_))),
            Some(Then::Fail(_) | Then::Report(_)) | None => false,
        };
        let mut answer = libc::seccomp_notif_resp { id, val: 0, error: -libc::EPERM, flags: 0 };
        if goes_on {
            (answer.error, answer.flags) = (0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE.try_into()?);
        } else if let (Some(denial), Some(subject)) = (denial, subject) {
            let (Then::Fail(errno) | Then::Report(errno) | Then::Unreachable(errno)) = denial.then;
            answer.error = -errno;
            self.account.add(denial.name, subject.text());
        }
        self.ioctl(libc::SECCOMP_IOCTL_NOTIF_SEND, (&raw mut answer).cast())
            .context("answer a call")
            .map(drop)
    }

    /// What was tried so far.
    pub fn finish(self) -> Vec<Attempt> {
        self.account.attempts()
    }

    /// False when the caller is gone.
    fn ioctl(&self, request: libc::Ioctl, argument: *mut libc::c_void) -> Result<bool, Errno> {
        // SAFETY: every caller passes the structure that belongs to the request, at least as large as the kernel's.
        if unsafe { libc::ioctl(self.listener.as_raw_fd(), request, argument) } == 0 {
            return Ok(true);
        }
        match Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO) {
            Errno::NOENT | Errno::INTR => Ok(false),
            error => Err(error),
        }
    }
}

/// A subject, decoded.
enum Described {
    Text(String),
    /// An address beyond this sandbox.
    Remote(SocketAddr),
}

impl Described {
    fn text(self) -> String {
        match self {
            Described::Text(text) => text,
            Described::Remote(address) => address.to_string(),
        }
    }
}

fn describe(subject: Subject, call: &libc::seccomp_notif) -> Described {
    let argument = |nth: u8| call.data.args[usize::from(nth)];
    // The kernel looks at the low half only.
    let low = |nth: u8| u32::try_from(argument(nth) & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    let text = match subject {
        Subject::Nothing => String::new(),
        Subject::Path(nth) => path_at(call.pid, argument(nth)),
        Subject::Number(nth) => format!("{:#x}", low(nth)),
        Subject::Namespaces(nth) => names_of(low(nth), &NAMESPACE_NAMES),
        Subject::Family(nth) => family(low(nth)),
        Subject::Terminal(nth) => names_of(low(nth), &TERMINAL_NAMES),
        Subject::Address(nth) => {
            let length = usize::try_from(low(nth + 1)).unwrap_or(0).min(size_of::<libc::sockaddr_in6>());
            let bytes = peek(call.pid, argument(nth), length);
            match remote(&bytes) {
                Some(address) => return Described::Remote(address),
                None => String::new(),
            }
        }
    };
    Described::Text(text)
}

/// The names of the flags that are set (or of the one value, where no two share a bit).
fn names_of(value: u32, names: &[(u32, &str)]) -> String {
    let found = names.iter().filter(|(flag, _)| value & flag == *flag);
    found.map(|(_, name)| *name).collect::<Vec<_>>().join(" ")
}

fn family(number: u32) -> String {
    // From `linux/socket.h`: those that are tried most.
    let known = [(17, "AF_PACKET"), (38, "AF_ALG"), (40, "AF_VSOCK"), (31, "AF_BLUETOOTH"), (44, "AF_XDP")];
    let name = known.iter().find(|(known, _)| *known == number);
    name.map_or_else(|| format!("family {number}"), |(_, name)| (*name).to_owned())
}

/// The address, when it is one of another machine. Unspecified and loopback addresses mean the sandbox itself.
fn remote(bytes: &[u8]) -> Option<SocketAddr> {
    let family = i32::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
    let port = u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?);
    let address: IpAddr = match family {
        libc::AF_INET => Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(4..8)?).ok()?).into(),
        libc::AF_INET6 => Ipv6Addr::from(<[u8; 16]>::try_from(bytes.get(8..24)?).ok()?).to_canonical(),
        _ => return None,
    };
    (!address.is_loopback() && !address.is_unspecified()).then_some(SocketAddr::new(address, port))
}

fn path_at(pid: u32, address: u64) -> String {
    let bytes = peek(pid, address, LONGEST_PATH);
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// Up to `length` bytes of a process's memory; fewer where it ends, none where it can't be read.
fn peek(pid: u32, address: u64, length: usize) -> Vec<u8> {
    /// Memory comes and goes in pages of at least this size, and a piece is read whole or not at all.
    const PAGE: usize = 4096;
    let (Ok(pid), Ok(start)) = (libc::pid_t::try_from(pid), usize::try_from(address)) else {
        return Vec::new();
    };
    let mut bytes = vec![0u8; length];
    let first = length.min(PAGE - start % PAGE);
    let Some(second) = start.checked_add(first) else { return Vec::new() };
    let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: length };
    let from = [
        libc::iovec { iov_base: start as *mut libc::c_void, iov_len: first },
        libc::iovec { iov_base: second as *mut libc::c_void, iov_len: length - first },
    ];
    // SAFETY: the kernel writes at most `length` bytes to our buffer; the other addresses are of the other process.
    let read = unsafe { libc::process_vm_readv(pid, &raw const local, 1, from.as_ptr(), 2, 0) };
    bytes.truncate(usize::try_from(read).unwrap_or(0));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_counts_and_has_an_end() {
        let mut account = Account::default();
        for number in 0..3 * MOST_ATTEMPTS {
            account.add("mount", format!("/{number}"));
            account.add("mount", "/0".to_owned());
        }
        let attempts = account.attempts();
        assert_eq!(attempts.len(), MOST_ATTEMPTS);
        let count = |what: &str, subject: &str| {
            attempts.iter().find(|a| a.what == what && a.subject == subject).map(|a| a.count)
        };
        assert_eq!(count("mount", "/0"), Some(3 * MOST_ATTEMPTS as u64 + 1));
        assert_eq!(count("mount", "/1"), Some(1));
        assert_eq!(count(OVERFLOW, ""), Some(2 * MOST_ATTEMPTS as u64 + 1));
    }

    #[test]
    fn only_other_machines_are_remote() {
        let v4 = |address: [u8; 4]| [&[2, 0, 0, 80][..], &address, &[0; 8]].concat();
        let v6 = |address: &str| {
            let address: Ipv6Addr = address.parse().unwrap();
            [&[10, 0, 1, 187, 0, 0, 0, 0][..], &address.octets(), &[0; 4]].concat()
        };
        let cases = [
            (v4([192, 0, 2, 1]), Some("192.0.2.1:80")),
            (v4([127, 0, 0, 53]), None),
            (v4([0; 4]), None),
            (v6("2001:db8::1"), Some("[2001:db8::1]:443")),
            (v6("::ffff:192.0.2.1"), Some("192.0.2.1:443")),
            (v6("::ffff:127.0.0.1"), None),
            (v6("::1"), None),
            (v6("::"), None),
            (b"\x01\0/run/socket".to_vec(), None),
            (vec![16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], None),
            (v4([192, 0, 2, 1])[..6].to_vec(), None),
            (Vec::new(), None),
        ];
        for (bytes, expected) in cases {
            assert_eq!(remote(&bytes).map(|address| address.to_string()).as_deref(), expected, "{bytes:?}");
        }
    }

    #[test]
    fn memory_is_read_up_to_its_end() {
        let text = c"/a/path";
        let me = std::process::id();
        assert_eq!(path_at(me, text.as_ptr() as u64), "/a/path");
        assert_eq!(path_at(me, 8), "");
        assert_eq!(path_at(me, u64::MAX - 3), "");
        assert_eq!(names_of(0x1002_0000, &NAMESPACE_NAMES), "mount user");
        assert_eq!((family(40), family(6)), ("AF_VSOCK".to_owned(), "family 6".to_owned()));
    }
}
