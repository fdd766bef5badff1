//! Owns who a process of a sandbox is and what it may do: identities, capabilities, no-new-privs.
//! Must not touch mounts. Called by `entry` in the started process, which has one thread; the system call filter (`seccomp`) follows.
#![expect(unsafe_code, reason = "prctl and keyctl calls without a safe wrapper")]

use std::os::fd::BorrowedFd;

use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Gid, Uid, set_dumpable_behavior};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, LinkNameSpaceType, clear_ambient_capability_set,
    move_into_link_name_space, remove_capability_from_bounding_set, set_capabilities,
    set_capabilities_secure_bits, set_no_new_privs, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use crate::confined::Network;

/// What real maintainer scripts need, measured: without any one of them packages fail or, worse, install differently
/// (SANDBOX.md 3.3, fact 2).
const TARGET_ROOT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::KILL);

/// What a `confined` command loses: all that reaches the machine beyond its files (SANDBOX.md, "Decisions").
const NEVER_CONFINED: CapabilitySet = CapabilitySet::SYS_MODULE
    .union(CapabilitySet::SYS_RAWIO)
    .union(CapabilitySet::SYS_BOOT)
    .union(CapabilitySet::SYS_TIME)
    .union(CapabilitySet::SYS_PACCT)
    .union(CapabilitySet::SYS_TTY_CONFIG)
    .union(CapabilitySet::SYSLOG)
    .union(CapabilitySet::MAC_ADMIN)
    .union(CapabilitySet::MAC_OVERRIDE)
    .union(CapabilitySet::AUDIT_CONTROL)
    .union(CapabilitySet::AUDIT_READ)
    .union(CapabilitySet::AUDIT_WRITE)
    .union(CapabilitySet::WAKE_ALARM)
    .union(CapabilitySet::BLOCK_SUSPEND)
    .union(CapabilitySet::BPF)
    .union(CapabilitySet::PERFMON)
    .union(CapabilitySet::CHECKPOINT_RESTORE);

/// Becomes, still outside of any user namespace, the host user who is root inside, and keeps every capability.
///
/// Only such a process can mount an overlay over idmapped layers that root inside can write to (SANDBOX.md 3.3, fact 6);
/// and what it creates in the target belongs to root there.
pub(crate) fn become_mapped_root(base: u32) -> Result<()> {
    set_capabilities_secure_bits(CapabilitiesSecureBits::NO_SETUID_FIXUP).context("keep capabilities")?;
    let (uid, gid) = (Uid::from_raw(base), Gid::from_raw(base));
    set_thread_groups(&[]).context("drop groups")?;
    // fsuid and fsgid follow.
    set_thread_res_gid(gid, gid, gid).context("change group")?;
    set_thread_res_uid(uid, uid, uid).context("change user")
}

/// Becomes a user of the host that owns nothing, without any capability, for good.
pub(crate) fn become_nobody(id: u32) -> Result<()> {
    forget_session_keyring();
    // Keeps the capabilities that are needed to give all of them up.
    become_mapped_root(id)?;
    limit_capabilities(CapabilitySet::empty())?;
    set_no_new_privs(true).context("no-new-privs")
}

/// Enters the user namespace as its root, for good, with the eight capabilities. `outside` the target also with that to change the root
/// directory, which leads nowhere but to what the command sees anyway: bootstrap tools do it.
pub(crate) fn become_target_root(userns: BorrowedFd<'_>, outside: bool) -> Result<()> {
    forget_session_keyring();
    move_into_link_name_space(userns, Some(LinkNameSpaceType::User)).context("enter the user namespace")?;
    set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).context("become group 0 of the target")?;
    set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).context("become root of the target")?;
    let chroot = if outside { CapabilitySet::SYS_CHROOT } else { CapabilitySet::empty() };
    limit_capabilities(TARGET_ROOT | chroot)?;
    set_no_new_privs(true).context("no-new-privs")?;
    // Its memory and descriptors are ours until exec; a process of the target must not look into them.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).context("become undumpable")
}

/// Gives up what no `confined` command has; the host's network can't be reconfigured either.
pub(crate) fn drop_host_capabilities(network: Network) -> Result<()> {
    forget_session_keyring();
    let mut dropped = NEVER_CONFINED;
    if network == Network::Host {
        dropped |= CapabilitySet::NET_ADMIN;
    }
    limit_capabilities(dropped.complement())?;
    set_no_new_privs(true).context("no-new-privs")
}

/// What this process can do now.
pub(crate) fn held() -> Result<CapabilitySet> {
    Ok(rustix::thread::capabilities(None).context("read capabilities")?.effective)
}

/// Limits all sets to at most `kept`; nothing is inheritable or ambient.
fn limit_capabilities(kept: CapabilitySet) -> Result<()> {
    for number in 0..64 {
        let one = CapabilitySet::from_bits_retain(1 << number);
        if kept.contains(one) {
            continue;
        }
        match remove_capability_from_bounding_set(one) {
            Ok(()) => {}
            // The first number the kernel does not know.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error).with_context(|| format!("drop capability {number}")),
        }
    }
    clear_ambient_capability_set().context("clear ambient capabilities")?;
    // More than there is to keep can't be asked for: some containers lack a few.
    let have = rustix::thread::capabilities(None).context("read capabilities")?;
    let sets = CapabilitySets {
        effective: have.permitted & kept,
        permitted: have.permitted & kept,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets).context("set capabilities")
}

/// The keys of whoever started dibw are not for commands. Kernels or containers without keyrings have nothing to hide.
fn forget_session_keyring() {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a null name asks for a new anonymous keyring; no memory is passed.
    unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>()) };
}
