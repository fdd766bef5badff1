//! The named rights: their names, their risk and what kind of value each one takes.
//!
//! Must not know: policies, elements, how a right is made real.
//! Callers: every other module of this crate, the SDK's `needs!` macro, the host's import check.

use std::fmt;
use std::str::FromStr;

/// A named right. The names are those of manifests, policy files and audit records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Capability {
    /// Lines for the build log. Always granted.
    Log,
    /// The element's own configuration. Always granted.
    Config,
    /// Facts about the image under construction. Always granted.
    Facts,
    /// Reading files of the target; value: a path glob.
    TargetRead,
    /// Writing files of the target outside the privileged classes; value: a path glob.
    TargetWrite,
    /// Writing files of a privileged class (beside a matching `target.write`); value: a class name.
    TargetWritePrivileged,
    /// Running a program of the target in its sandbox; value: an argv pattern.
    TargetExec,
    /// Installing packages; value: a name glob.
    PackagesInstall,
    /// Removing packages; value: a name glob.
    PackagesRemove,
    /// Changing units; value: `enable|disable|mask` and a unit glob.
    ServiceSet,
    /// Adding or changing accounts and groups; value: a name glob.
    UserAdd,
    /// Accounts with root's powers: uid 0 (`root`) or a powerful group; value: a group name glob.
    UserPrivileged,
    /// Reading a variable of the phase; value: a name, or a glob with a literal prefix.
    HostEnv,
    /// Setting a variable for later hooks; value: a name, or a glob with a literal prefix.
    EnvSet,
    /// Adding a package repository of the site's catalogue; value: a glob of its ids.
    PackagesRepoAdd,
    /// Downloading, by the host; value: a URL prefix and `required|first-use|none`, what must be known of the contents.
    NetFetch,
    /// Downloading from addresses that are not public; value: a CIDR block.
    NetAddress,
    /// Reading a file that the site offers by name; value: a glob of names.
    HostInput,
    /// Having a secret put where it is needed; value: its name and `file GLOB` or `header ORIGIN`.
    SecretUse,
    /// Keeping bytes from build to build; value: the most of them (`64MiB`).
    CacheRw,
    /// Contributing to the disk's layout; value: a kind of node (`partitioning`, `mkfs` ...).
    BlockdevContribute,
    /// Mounts in the target while the element's commands run; value: `tmpfs|cache|esp` and a path glob.
    MountRequest,
    /// Arguments of the image's kernel; value: a key glob.
    KernelCmdline,
    /// Arguments of the kernel that weaken the image or run programs (beside `kernel.cmdline`); value: a key glob.
    KernelCmdlineUnsafe,
    /// Kernel modules loaded at boot; value: a name glob.
    KernelModules,
    /// Kernel settings at boot; value: a key glob.
    Sysctl,
    /// Installing a boot loader; value: its kind (`grub-pc`, `grub-efi`, `systemd-boot`).
    BootloaderInstall,
    /// The image's formats. Only in ceilings: the runtime writes images, no element does.
    ImageEmit,
}

/// What a unit may be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServiceAction {
    /// Start at boot.
    Enable,
    /// Do not start at boot.
    Disable,
    /// Cannot be started at all.
    Mask,
}

/// How the value of a need is matched against what is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// Takes no value: always granted.
    None,
    /// An absolute path glob: `*` and `?` within a component, `**` across.
    Path,
    /// The name of a [`crate::Class`].
    Class,
    /// Words separated by spaces; the first is a path glob, a last `**` stands for any further words.
    Argv,
    /// A name glob.
    Name,
    /// An action word and a unit glob.
    Service,
    /// A variable name or a glob with a literal prefix.
    Variable,
    /// A URL prefix and what must be known of the contents.
    Url,
    /// A block of addresses.
    Cidr,
    /// A name and where the secret goes.
    Secret,
    /// A number of bytes with an optional unit.
    Size,
    /// A kind of mount and a path glob.
    Mount,
}

impl Capability {
    /// Every capability, in the order they are documented.
    pub const ALL: [Capability; 28] = [
        Capability::Log,
        Capability::Config,
        Capability::Facts,
        Capability::TargetRead,
        Capability::TargetWrite,
        Capability::TargetWritePrivileged,
        Capability::TargetExec,
        Capability::PackagesInstall,
        Capability::PackagesRemove,
        Capability::ServiceSet,
        Capability::UserAdd,
        Capability::UserPrivileged,
        Capability::HostEnv,
        Capability::EnvSet,
        Capability::PackagesRepoAdd,
        Capability::NetFetch,
        Capability::NetAddress,
        Capability::HostInput,
        Capability::SecretUse,
        Capability::CacheRw,
        Capability::BlockdevContribute,
        Capability::MountRequest,
        Capability::KernelCmdline,
        Capability::KernelCmdlineUnsafe,
        Capability::KernelModules,
        Capability::Sysctl,
        Capability::BootloaderInstall,
        Capability::ImageEmit,
    ];

    /// The name in manifests, policies and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Capability::Log => "log",
            Capability::Config => "config",
            Capability::Facts => "facts",
            Capability::TargetRead => "target.read",
            Capability::TargetWrite => "target.write",
            Capability::TargetWritePrivileged => "target.write_privileged",
            Capability::TargetExec => "target.exec",
            Capability::PackagesInstall => "packages.install",
            Capability::PackagesRemove => "packages.remove",
            Capability::ServiceSet => "service.set",
            Capability::UserAdd => "user.add",
            Capability::UserPrivileged => "user.privileged",
            Capability::HostEnv => "host.env",
            Capability::EnvSet => "env.set",
            Capability::PackagesRepoAdd => "packages.repo_add",
            Capability::NetFetch => "net.fetch",
            Capability::NetAddress => "net.address",
            Capability::HostInput => "host.input",
            Capability::SecretUse => "secret.use",
            Capability::CacheRw => "cache.rw",
            Capability::BlockdevContribute => "blockdev.contribute",
            Capability::MountRequest => "mount.request",
            Capability::KernelCmdline => "kernel.cmdline",
            Capability::KernelCmdlineUnsafe => "kernel.cmdline_unsafe",
            Capability::KernelModules => "kernel.modules",
            Capability::Sysctl => "sysctl",
            Capability::BootloaderInstall => "bootloader.install",
            Capability::ImageEmit => "image.emit",
        }
    }

    /// Whether every element has it without asking.
    pub const fn always_granted(self) -> bool {
        matches!(self.value_kind(), ValueKind::None)
    }

    /// What the value of a need for this capability looks like.
    pub const fn value_kind(self) -> ValueKind {
        match self {
            Capability::Log | Capability::Config | Capability::Facts => ValueKind::None,
            Capability::TargetRead | Capability::TargetWrite => ValueKind::Path,
            Capability::TargetWritePrivileged => ValueKind::Class,
            Capability::TargetExec => ValueKind::Argv,
            Capability::PackagesInstall
            | Capability::PackagesRemove
            | Capability::UserAdd
            | Capability::UserPrivileged
            | Capability::PackagesRepoAdd
            | Capability::HostInput
            | Capability::BlockdevContribute
            | Capability::KernelCmdline
            | Capability::KernelCmdlineUnsafe
            | Capability::KernelModules
            | Capability::Sysctl
            | Capability::BootloaderInstall
            | Capability::ImageEmit => ValueKind::Name,
            Capability::NetFetch => ValueKind::Url,
            Capability::NetAddress => ValueKind::Cidr,
            Capability::SecretUse => ValueKind::Secret,
            Capability::CacheRw => ValueKind::Size,
            Capability::MountRequest => ValueKind::Mount,
            Capability::ServiceSet => ValueKind::Service,
            Capability::HostEnv | Capability::EnvSet => ValueKind::Variable,
        }
    }

    /// Risk of the capability itself: 1 image only and benign, 2 image contents, 3 root in the target, 4 host exposure.
    /// A need may carry more ([`crate::Need::risk`]): what a variable reveals depends on its name, what a download may be on its checksum.
    pub const fn risk(self) -> u8 {
        match self {
            Capability::Log | Capability::Config | Capability::Facts | Capability::CacheRw => 1,
            Capability::TargetRead
            | Capability::TargetWrite
            | Capability::HostEnv
            | Capability::EnvSet
            | Capability::NetFetch
            | Capability::BlockdevContribute
            | Capability::MountRequest
            | Capability::KernelModules
            | Capability::Sysctl
            | Capability::ImageEmit => 2,
            Capability::TargetWritePrivileged
            | Capability::TargetExec
            | Capability::PackagesInstall
            | Capability::PackagesRemove
            | Capability::ServiceSet
            | Capability::UserAdd
            | Capability::UserPrivileged
            | Capability::PackagesRepoAdd
            | Capability::KernelCmdline
            | Capability::KernelCmdlineUnsafe
            | Capability::BootloaderInstall => 3,
            Capability::NetAddress | Capability::HostInput | Capability::SecretUse => 4,
        }
    }

    /// Why the capability matters, for denials and `dibw policy explain`.
    pub const fn reason(self) -> &'static str {
        match self {
            Capability::Log | Capability::Config | Capability::Facts => "harmless",
            Capability::TargetRead => "it can see what other elements put into the image",
            Capability::TargetWrite => "it decides what is in the image",
            Capability::TargetWritePrivileged => "files here run as root on every booted image",
            Capability::TargetExec => "programs run as root of the target, in its sandbox",
            Capability::PackagesInstall | Capability::PackagesRemove => {
                "maintainer scripts run as root of the target"
            }
            Capability::ServiceSet => "units run as root on every booted image",
            Capability::UserAdd => "accounts can log in to every booted image",
            Capability::UserPrivileged => "the account becomes root on every booted image",
            Capability::HostEnv => "variables may carry tokens of the machine that builds",
            Capability::EnvSet => "variables change what later hooks do",
            Capability::PackagesRepoAdd => "everything in the repository can run as root of the target",
            Capability::NetFetch => {
                "what is downloaded ends up in the image, and addresses can carry data out"
            }
            Capability::NetAddress => "services behind the site's firewall trust those who can reach them",
            Capability::HostInput => "the file is the site's own",
            Capability::SecretUse => "whoever gets the image, or the server, gets the secret",
            Capability::CacheRw => "only the element itself, at this digest, reads it again",
            Capability::BlockdevContribute => "it decides how the disk is divided",
            Capability::MountRequest => "a mount hides what is below it while commands run",
            Capability::KernelCmdline => "the arguments steer the kernel of every booted image",
            Capability::KernelCmdlineUnsafe => {
                "such arguments switch protections off or run programs as root"
            }
            Capability::KernelModules => "more of the kernel can be reached on every booted image",
            Capability::Sysctl => "settings can weaken every booted image",
            Capability::BootloaderInstall => "boot loaders run before the system, on every booted image",
            Capability::ImageEmit => "it is how the image leaves the machine",
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Capability {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        if let Some(found) = Capability::ALL.into_iter().find(|c| c.name() == name) {
            return Ok(found);
        }
        if let Some((_, instead)) = ELSEWHERE.iter().find(|(known, _)| *known == name) {
            return Err(format!("`{name}` is not a capability: {instead}"));
        }
        let names = Capability::ALL.map(Capability::name);
        Err(match nearest(name, &names) {
            Some(near) => format!("unknown capability `{name}`; did you mean `{near}`?"),
            None => format!("unknown capability `{name}`"),
        })
    }
}

/// Names of the design that are no capabilities of elements, each with what there is instead: named, so that a policy using one is
/// refused with a way out.
const ELSEWHERE: [(&str, &str); 3] = [
    ("fs.post", "file systems are finished by the runtime alone"),
    ("legacy.host_exec", "classic elements are under `classic`, with a level"),
    ("resources", "limits are a section of the ceiling"),
];

impl ServiceAction {
    /// Every action.
    pub const ALL: [ServiceAction; 3] = [ServiceAction::Enable, ServiceAction::Disable, ServiceAction::Mask];

    /// The word used in needs and policies.
    pub const fn name(self) -> &'static str {
        match self {
            ServiceAction::Enable => "enable",
            ServiceAction::Disable => "disable",
            ServiceAction::Mask => "mask",
        }
    }
}

impl FromStr for ServiceAction {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        ServiceAction::ALL
            .into_iter()
            .find(|a| a.name() == word)
            .ok_or_else(|| format!("`{word}` is not one of enable, disable, mask"))
    }
}

/// The candidate nearest to `word`, when one is near enough to be worth suggesting.
pub fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(2);
    let near = |c: &&'a str| strsim::damerau_levenshtein(word, c);
    candidates.iter().copied().min_by_key(near).filter(|c| near(c) <= limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_are_unique() {
        for capability in Capability::ALL {
            assert_eq!(capability.name().parse::<Capability>(), Ok(capability));
        }
    }

    #[test]
    fn unknown_names() {
        let said = |name: &str| name.parse::<Capability>().unwrap_err();
        assert_eq!(said("target.wirte"), "unknown capability `target.wirte`; did you mean `target.write`?");
        assert_eq!(said("teleport"), "unknown capability `teleport`");
        assert_eq!(
            said("fs.post"),
            "`fs.post` is not a capability: file systems are finished by the runtime alone"
        );
    }
}
