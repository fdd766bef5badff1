//! The host functions, one file per interface of the contract. Each asks the gate before it acts.

mod bootloader;
mod cache;
mod config;
mod env;
mod exec;
mod facts;
mod inputs;
mod kernel;
mod log;
mod mounts;
mod net;
mod packages;
mod secrets;
mod services;
mod target_fs;
mod users;

use wasmtime::component::{HasSelf, Linker};

use crate::bindings::dibw::element;
use crate::gate::State;

/// An interface: its name, the capabilities of which one at least makes it useful, and how it is linked.
pub(crate) struct Interface {
    pub(crate) name: &'static str,
    pub(crate) capabilities: &'static [dibw_policy::Capability],
    link: fn(&mut Linker<State>) -> wasmtime::Result<()>,
}

macro_rules! link {
    ($module:ident) => {
        |linker| element::$module::add_to_linker::<State, HasSelf<State>>(linker, |state| state)
    };
}

use dibw_policy::Capability as C;

/// Every interface that this version speaks.
pub(crate) const INTERFACES: [Interface; 17] = [
    Interface { name: "types", capabilities: &[], link: link!(types) },
    Interface { name: "log", capabilities: &[C::Log], link: link!(log) },
    Interface { name: "config", capabilities: &[C::Config], link: link!(config) },
    Interface { name: "facts", capabilities: &[C::Facts], link: link!(facts) },
    Interface {
        name: "target-fs",
        capabilities: &[C::TargetRead, C::TargetWrite, C::TargetWritePrivileged],
        link: link!(target_fs),
    },
    Interface {
        name: "packages",
        capabilities: &[C::PackagesInstall, C::PackagesRemove, C::PackagesRepoAdd],
        link: link!(packages),
    },
    Interface { name: "services", capabilities: &[C::ServiceSet], link: link!(services) },
    Interface { name: "users", capabilities: &[C::UserAdd, C::UserPrivileged], link: link!(users) },
    Interface { name: "exec", capabilities: &[C::TargetExec], link: link!(exec) },
    Interface { name: "env", capabilities: &[C::HostEnv, C::EnvSet], link: link!(env) },
    Interface { name: "net", capabilities: &[C::NetFetch], link: link!(net) },
    Interface { name: "inputs", capabilities: &[C::HostInput], link: link!(inputs) },
    Interface { name: "secrets", capabilities: &[C::SecretUse], link: link!(secrets) },
    Interface { name: "cache", capabilities: &[C::CacheRw], link: link!(cache) },
    Interface { name: "mounts", capabilities: &[C::MountRequest], link: link!(mounts) },
    Interface {
        name: "kernel",
        capabilities: &[C::KernelCmdline, C::KernelCmdlineUnsafe, C::KernelModules, C::Sysctl],
        link: link!(kernel),
    },
    Interface { name: "bootloader", capabilities: &[C::BootloaderInstall], link: link!(bootloader) },
];

/// The interface an import names (`dibw:element/target-fs@0.1.0`), if this version speaks it.
pub(crate) fn interface_of(import: &str) -> Option<&'static Interface> {
    let (name, version) = import.strip_prefix("dibw:element/")?.split_once('@')?;
    // Functions may be added within 0.1, so any patch level is the same interface.
    let speaks = version.strip_prefix(dibw_plan::manifest::API).is_some_and(|patch| patch.starts_with('.'));
    INTERFACES.iter().find(|interface| speaks && interface.name == name)
}

/// Links the interfaces that the component imports, and no others.
pub(crate) fn link(linker: &mut Linker<State>, imports: &[String]) -> wasmtime::Result<()> {
    for interface in imports.iter().filter_map(|import| interface_of(import)) {
        (interface.link)(linker)?;
    }
    Ok(())
}

impl element::types::Host for State {}
