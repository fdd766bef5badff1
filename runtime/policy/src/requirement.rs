//! What an operation needs: the one exhaustive match over operations. There is no `_ =>` arm, and there must be none.
//!
//! Callers: [`crate::decide()`] only.

use std::net::IpAddr;

use crate::account::{check_account, check_label, check_package, check_unit, is_powerful_group};
use crate::address::AddressClass;
use crate::capability::Capability;
use crate::class::{classes_in_tree, classes_of};
use crate::glob::Extent;
use crate::kernel;
use crate::operation::{Access, Operation};
use crate::path::{is_kernel_path, normalise};
use crate::url::{Checksum, Url};
use crate::variable;

/// One right that an operation needs. An operation is allowed when all its requirements are met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Requirement {
    pub(crate) capability: Capability,
    /// What the pattern of a need is matched with.
    pub(crate) words: Vec<String>,
    pub(crate) extent: Extent,
}

/// Why an operation is out of the question, whatever the policy says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Impossible {
    /// The request makes no sense.
    Malformed(String),
    /// No policy can allow it.
    Never { capability: Capability, subject: String, rule: String },
}

type Requirements = Result<Vec<Requirement>, Impossible>;

/// What `operation` needs.
pub(crate) fn requirements(operation: &Operation) -> Requirements {
    match operation {
        Operation::ReadFile { path } | Operation::Stat { path } | Operation::ReadLink { path } => {
            read(path, Extent::Entry)
        }
        Operation::ListDirectory { path } => read(path, Extent::Directory),
        Operation::WriteFile { path, mode } | Operation::SetMode { path, mode } => {
            check_mode(path, *mode)?;
            write(path, Extent::Entry)
        }
        Operation::MakeDirectory { path, mode } => {
            check_mode(path, *mode)?;
            write(path, Extent::Directory)
        }
        // A link stands for the tree it points to, so it counts for every class below its place.
        Operation::Symlink { path, target } => {
            check_link_target(target)?;
            let mut all = write(path, Extent::Entry)?;
            add_classes(&mut all, path, Extent::Tree)?;
            Ok(all)
        }
        Operation::Rename { from, to } => both(write(from, Extent::Entry)?, write(to, Extent::Entry)),
        Operation::RenameTree { from, to } => both(write(from, Extent::Tree)?, write(to, Extent::Tree)),
        Operation::Remove { path } => write(path, Extent::Entry),
        Operation::RemoveTree { path } => write(path, Extent::Tree),
        Operation::SetOwner { path, uid: _, gid: _ } => write(path, Extent::Entry),
        Operation::InstallPackage { name } => {
            check_package(name).map_err(Impossible::Malformed)?;
            Ok(vec![named(Capability::PackagesInstall, name)])
        }
        Operation::RemovePackage { name } => {
            check_package(name).map_err(Impossible::Malformed)?;
            Ok(vec![named(Capability::PackagesRemove, name)])
        }
        Operation::SetService { action, unit } => {
            check_unit(unit).map_err(Impossible::Malformed)?;
            let words = vec![action.name().to_owned(), unit.clone()];
            Ok(vec![Requirement { capability: Capability::ServiceSet, words, extent: Extent::Entry }])
        }
        Operation::AddUser { name, uid, groups } => {
            let mut all = account(name)?;
            if *uid == Some(0) {
                all.push(named(Capability::UserPrivileged, "root"));
            }
            for group in groups {
                check_account(group).map_err(Impossible::Malformed)?;
                if is_powerful_group(group) {
                    all.push(named(Capability::UserPrivileged, group));
                }
            }
            Ok(all)
        }
        Operation::AddGroup { name } => account(name),
        Operation::SetAuthorizedKeys { name } => {
            let class = named(Capability::TargetWritePrivileged, "authorized_keys");
            both(vec![class], account(name))
        }
        Operation::GrantSudo { name } => {
            let class = named(Capability::TargetWritePrivileged, "sudoers");
            both(vec![class], account(name))
        }
        Operation::Execute { argv } => execute(argv),
        Operation::GetVariable { name } => {
            variable::check_name(name).map_err(Impossible::Malformed)?;
            refuse(Capability::HostEnv, name, variable::refuse_read(name))?;
            Ok(vec![named(Capability::HostEnv, name)])
        }
        Operation::SetVariable { name } => {
            variable::check_name(name).map_err(Impossible::Malformed)?;
            refuse(Capability::EnvSet, name, variable::refuse_write(name))?;
            Ok(vec![named(Capability::EnvSet, name)])
        }
        Operation::AddRepository { id } => {
            check_label(id).map_err(Impossible::Malformed)?;
            Ok(vec![named(Capability::PackagesRepoAdd, id)])
        }
        Operation::Fetch { url, checksum, addresses } => fetch(url, *checksum, addresses),
        Operation::ReadInput { name } => {
            check_label(name).map_err(Impossible::Malformed)?;
            Ok(vec![named(Capability::HostInput, name)])
        }
        Operation::WriteSecret { name, path } => {
            check_label(name).map_err(Impossible::Malformed)?;
            let file = path_requirement(Capability::SecretUse, path, Extent::Entry)?;
            let words = [vec![name.clone(), "file".to_owned()], file.words].concat();
            both(vec![Requirement { words, ..file }], write(path, Extent::Entry))
        }
        Operation::SendSecret { name, origin } => {
            check_label(name).map_err(Impossible::Malformed)?;
            let origin = Url::parse(origin).map_err(Impossible::Malformed)?.origin();
            let words = vec![name.clone(), "header".to_owned(), origin];
            Ok(vec![Requirement { capability: Capability::SecretUse, words, extent: Extent::Entry }])
        }
        Operation::UseCache { bytes } => Ok(vec![named(Capability::CacheRw, &bytes.to_string())]),
        Operation::ContributeLayout { kind } => {
            check_label(kind).map_err(Impossible::Malformed)?;
            Ok(vec![named(Capability::BlockdevContribute, kind)])
        }
        Operation::RequestMount { kind, path } => {
            let place = path_requirement(Capability::MountRequest, path, Extent::Entry)?;
            let root = (place.words == ["/"]).then(|| "nothing is mounted over the whole target".to_owned());
            refuse(Capability::MountRequest, path, root)?;
            let words = [vec![kind.name().to_owned()], place.words].concat();
            Ok(vec![Requirement { words, ..place }])
        }
        Operation::AddKernelArgument { key, value } => {
            kernel::check_argument(key, value).map_err(Impossible::Malformed)?;
            let weakens = kernel::is_unsafe_argument(key);
            let beside = weakens.then(|| named(Capability::KernelCmdlineUnsafe, key));
            Ok([named(Capability::KernelCmdline, key)].into_iter().chain(beside).collect())
        }
        Operation::LoadKernelModule { name } => {
            kernel::check_module(name).map_err(Impossible::Malformed)?;
            Ok(vec![named(Capability::KernelModules, name)])
        }
        Operation::SetSysctl { key, value } => {
            kernel::check_setting(key, value).map_err(Impossible::Malformed)?;
            let name = kernel::setting_name(key);
            refuse(Capability::Sysctl, name, kernel::refuse_setting(name))?;
            Ok(vec![named(Capability::Sysctl, name)])
        }
        Operation::InstallBootloader { kind } => Ok(vec![named(Capability::BootloaderInstall, kind.name())]),
        Operation::EmitImage { format } => {
            check_label(format).map_err(Impossible::Malformed)?;
            Ok(vec![named(Capability::ImageEmit, format)])
        }
        Operation::Preopen { path, access: Access::Read } => read(path, Extent::Tree),
        Operation::Preopen { path, access: Access::Write } => {
            both(read(path, Extent::Tree)?, write(path, Extent::Tree))
        }
    }
}

/// Every hop of a download is asked with where it leads: a name that is allowed may still lead to a machine that is not.
fn fetch(url: &str, checksum: Checksum, addresses: &[IpAddr]) -> Requirements {
    let parsed = Url::parse(url).map_err(Impossible::Malformed)?;
    let literal = parsed.address();
    let words = vec![url.to_owned(), checksum.name().to_owned()];
    let mut all = vec![Requirement { capability: Capability::NetFetch, words, extent: Extent::Entry }];
    for address in addresses.iter().copied().chain(literal) {
        match AddressClass::of(address) {
            AddressClass::Global => {}
            AddressClass::Private
            | AddressClass::Loopback
            | AddressClass::Documentation
            | AddressClass::Reserved => {
                all = both(all, Ok(vec![named(Capability::NetAddress, &address.to_string())]))?;
            }
            class @ (AddressClass::LinkLocal
            | AddressClass::Metadata
            | AddressClass::Multicast
            | AddressClass::Unspecified
            | AddressClass::Broadcast) => {
                let rule = format!("{address} is a {class} address, to which nothing is ever sent");
                return Err(Impossible::Never {
                    capability: Capability::NetAddress,
                    subject: url.to_owned(),
                    rule,
                });
            }
        }
    }
    Ok(all)
}

fn read(path: &str, extent: Extent) -> Requirements {
    Ok(vec![path_requirement(Capability::TargetRead, path, extent)?])
}

fn write(path: &str, extent: Extent) -> Requirements {
    let mut all = vec![path_requirement(Capability::TargetWrite, path, extent)?];
    add_classes(&mut all, path, extent)?;
    Ok(all)
}

fn path_requirement(capability: Capability, path: &str, extent: Extent) -> Result<Requirement, Impossible> {
    let path = normalise(path).map_err(Impossible::Malformed)?;
    if is_kernel_path(&path) {
        let rule = "file systems of the kernel are not part of the image".to_owned();
        return Err(Impossible::Never { capability, subject: path, rule });
    }
    Ok(Requirement { capability, words: vec![path], extent })
}

fn add_classes(all: &mut Vec<Requirement>, path: &str, extent: Extent) -> Result<(), Impossible> {
    let path = normalise(path).map_err(Impossible::Malformed)?;
    let classes = match extent {
        Extent::Entry | Extent::Directory => classes_of(&path),
        Extent::Tree => classes_in_tree(&path),
    };
    for class in classes {
        let requirement = named(Capability::TargetWritePrivileged, class.name());
        if !all.contains(&requirement) {
            all.push(requirement);
        }
    }
    Ok(())
}

fn account(name: &str) -> Requirements {
    check_account(name).map_err(Impossible::Malformed)?;
    let mut all = vec![named(Capability::UserAdd, name)];
    if is_powerful_group(name) {
        all.push(named(Capability::UserPrivileged, name));
    }
    Ok(all)
}

fn execute(argv: &[String]) -> Requirements {
    let Some(program) = argv.first() else {
        return Err(Impossible::Malformed("an empty argv names no program".to_owned()));
    };
    if let Some(word) = argv.iter().find(|w| w.contains('\0')) {
        return Err(Impossible::Malformed(format!("`{}` contains a NUL byte", crate::subject::escape(word))));
    }
    let mut words = vec![normalise(program).map_err(Impossible::Malformed)?];
    words.extend_from_slice(&argv[1..]);
    Ok(vec![Requirement { capability: Capability::TargetExec, words, extent: Extent::Entry }])
}

fn check_mode(path: &str, mode: u32) -> Result<(), Impossible> {
    if mode > 0o7777 {
        return Err(Impossible::Malformed(format!("mode {mode:#o} has more than permission bits")));
    }
    let special = (mode & 0o7000 != 0).then(|| {
        format!("mode {mode:#o}: set-user-id, set-group-id and sticky bits are never set by typed elements")
    });
    refuse(Capability::TargetWritePrivileged, path, special)
}

fn check_link_target(target: &str) -> Result<(), Impossible> {
    if target.is_empty() || target.len() >= crate::path::LONGEST || target.contains('\0') {
        let shown = crate::subject::escape(target);
        return Err(Impossible::Malformed(format!("`{shown}` cannot be the target of a symbolic link")));
    }
    Ok(())
}

fn refuse(capability: Capability, subject: &str, rule: Option<String>) -> Result<(), Impossible> {
    match rule {
        Some(rule) => Err(Impossible::Never { capability, subject: subject.to_owned(), rule }),
        None => Ok(()),
    }
}

fn named(capability: Capability, name: &str) -> Requirement {
    Requirement { capability, words: vec![name.to_owned()], extent: Extent::Entry }
}

fn both(mut first: Vec<Requirement>, second: Requirements) -> Requirements {
    for requirement in second? {
        if !first.contains(&requirement) {
            first.push(requirement);
        }
    }
    Ok(first)
}
