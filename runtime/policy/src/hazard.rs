//! Rights that leave nothing of the model: wildcards that cover all there is.
//!
//! Callers: policy files (a grant of one needs a reason), `dibw policy check`, `dibw policy suggest`.

use crate::capability::Capability;
use crate::need::Need;

/// Whether the pattern covers all there is of a capability that matters.
pub fn covers_everything(need: &Need) -> bool {
    let all: &[&str] = match need.capability() {
        Capability::TargetWrite | Capability::TargetRead => &["/**"],
        Capability::TargetWritePrivileged
        | Capability::PackagesInstall
        | Capability::PackagesRemove
        | Capability::UserPrivileged
        | Capability::PackagesRepoAdd
        | Capability::HostInput
        | Capability::KernelCmdlineUnsafe => &["*"],
        Capability::TargetExec => &["/**", "/** **"],
        Capability::NetFetch => &["https://* required", "http://* required"],
        Capability::NetAddress => &["0.0.0.0/0", "::/0"],
        Capability::SecretUse => &["* file /**"],
        Capability::ServiceSet => &["enable *", "mask *"],
        Capability::Log
        | Capability::Config
        | Capability::Facts
        | Capability::UserAdd
        | Capability::HostEnv
        | Capability::EnvSet
        | Capability::CacheRw
        | Capability::BlockdevContribute
        | Capability::MountRequest
        | Capability::KernelCmdline
        | Capability::KernelModules
        | Capability::Sysctl
        | Capability::BootloaderInstall
        | Capability::ImageEmit => &[],
    };
    let covers = |value: &&str| Need::new(need.capability(), value).is_ok_and(|all| need.contains(&all));
    all.iter().any(covers)
}
