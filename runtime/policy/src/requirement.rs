//! What an operation needs: the one exhaustive match over operations. There is no `_ =>` arm, and there must be none.
//!
//! Callers: [`crate::decide()`] only.

use crate::account::{check_account, check_package, check_unit, is_powerful_group};
use crate::capability::Capability;
use crate::class::{classes_in_tree, classes_of};
use crate::glob::Extent;
use crate::operation::Operation;
use crate::path::{is_kernel_path, normalise};
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
    }
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
