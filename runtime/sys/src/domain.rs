//! Owns the Landlock domain that a caged command lives in: a second wall behind namespaces, capabilities and the system call filter.
//! Must not be the only thing that keeps a command from anything: kernels without Landlock, or with less of it, have the rest.
//! Called by `entry`, in the init of a sandbox, before the system call filter; and by `probe`.
//!
//! In the target all files may be used as their modes allow, but no device node can be made, no device but those of `/dev` takes a
//! request (ioctl), and, as in every domain with rules for files, nothing can be mounted, unmounted or pivoted. In every cage neither
//! signals nor connections to abstract sockets leave it, those of a shared network included.
#![expect(unsafe_code, reason = "asking for the version has no safe wrapper")]

use anyhow::{Context, Result, bail};
use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, Scope,
};

use crate::syscalls::Cage;

/// Enters it, for good, as far as the kernel goes.
pub(crate) fn enter(cage: Cage) -> Result<()> {
    let scoped = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .scope(Scope::from_all(ABI::V6))
        .context("Landlock scopes")?;
    let created = match cage {
        Cage::Host => scoped.create().context("Landlock")?,
        Cage::Target(_) => {
            let files = scoped.handle_access(AccessFs::from_all(ABI::V5)).context("Landlock rules")?;
            let root = PathFd::new("/").context("open /")?;
            let devices = PathFd::new("/dev").context("open /dev")?;
            files
                .create()
                .and_then(|created| created.add_rule(PathBeneath::new(root, everywhere())))
                .and_then(|created| created.add_rule(PathBeneath::new(devices, in_dev())))
                .context("Landlock rules")?
        }
    };
    created.restrict_self().map(drop).context("enter the Landlock domain")
}

/// What may be done with files wherever they are.
fn everywhere() -> BitFlags<AccessFs> {
    let devices = AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev;
    AccessFs::from_all(ABI::V5) & !devices
}

/// And in `/dev`, where there is nothing but what was granted.
fn in_dev() -> BitFlags<AccessFs> {
    everywhere() | AccessFs::IoctlDev
}

/// Whether this kernel has Landlock with all that is used of it.
///
/// # Errors
/// What is missing.
pub(crate) fn available() -> Result<()> {
    const LANDLOCK_CREATE_RULESET_VERSION: libc::c_uint = 1;
    let none = std::ptr::null::<libc::c_void>();
    // SAFETY: with this flag no memory is looked at; the answer is a number.
    let version = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, none, 0usize, LANDLOCK_CREATE_RULESET_VERSION)
    };
    match version {
        6.. => Ok(()),
        1..6 => bail!("version {version} of the kernel's Landlock has no scopes (Linux 6.12 has)"),
        _ => {
            Err(std::io::Error::last_os_error()).context("the kernel has no Landlock, or it is switched off")
        }
    }
}
