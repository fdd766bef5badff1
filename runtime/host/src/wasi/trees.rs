//! The directories a component from another language gets: each need `target.read X/**` or `target.write X/**` whose tree exists, decided and
//! recorded as a whole before the first instruction runs.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use dibw_policy::{Access, Capability, Need, Operation};
use wasmtime_wasi::FsPerms;

use crate::bindings::dibw::element::types::Error;
use crate::gate::{Halt, State};
use crate::lent::{Follow, LogLevel};

use super::Wasi;

/// A directory, under the name the component opens it by.
struct Tree {
    name: String,
    access: Access,
    directory: OwnedFd,
}

/// Whether a component asks for directories.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Directories {
    /// It imports `wasi:filesystem/preopens`.
    Wanted,
    /// It reaches files through the contract only, if at all.
    Unwanted,
}

/// Opens the trees that the needs of the element name, and sets up all else that WASI works on. A tree that is not there is left out with a
/// line in the log; one that is refused ends the hook.
pub(crate) fn open_trees(state: &mut State, directories: Directories) -> Result<(), Halt> {
    let mut trees = Vec::new();
    let wanted = match directories {
        Directories::Wanted => wanted(state.effective.needs()),
        Directories::Unwanted => BTreeMap::new(),
    };
    for (name, access) in wanted {
        match open(state, &name, access) {
            Ok(directory) => trees.push(Tree { name, access, directory }),
            Err(Halt::Guest(Error::NotFound(_))) => {
                let line =
                    format!("{} is not there (yet): no access to it", dibw_policy::subject::escape(&name));
                state.lent.log(LogLevel::Warn, &line);
            }
            Err(other) => return Err(other),
        }
    }
    let source_date = state.facts.get("source-date-epoch").and_then(|text| text.parse().ok());
    let source_date = Duration::from_secs(source_date.unwrap_or(0));
    let seed = format!("{} {} {}", source_date.as_secs(), state.phase, state.effective.element());
    let wasi = Wasi::new(&seed, source_date, |builder| {
        for tree in &trees {
            let permissions = match tree.access {
                Access::Read => FsPerms::ReadOnly,
                Access::Write => FsPerms::ReadWrite,
            };
            // WASI opens directories by path only; this path is the directory that was lent.
            let place = format!("/proc/self/fd/{}", tree.directory.as_raw_fd());
            builder.preopened_dir(place, &tree.name, permissions)?;
        }
        Ok(())
    });
    state.wasi = Some(wasi.map_err(Halt::Trap)?);
    Ok(())
}

/// Reading is asked for on its own only where writing is not.
fn wanted(needs: &[Need]) -> BTreeMap<String, Access> {
    let mut wanted = BTreeMap::new();
    for (capability, access) in
        [(Capability::TargetRead, Access::Read), (Capability::TargetWrite, Access::Write)]
    {
        for need in needs.iter().filter(|need| need.capability() == capability) {
            wanted.extend(root_of_tree(need.value()).map(|root| (root, access)));
        }
    }
    wanted
}

/// `/x` of `/x/**`; none for anything else.
fn root_of_tree(value: &str) -> Option<String> {
    let root = value.strip_suffix("/**")?;
    let literal = !root.contains(['*', '?']);
    let root = if root.is_empty() { "/" } else { root };
    dibw_policy::path::normalise(root).ok().filter(|_| literal)
}

fn open(state: &mut State, name: &str, access: Access) -> Result<OwnedFd, Halt> {
    let operation = |path| Operation::Preopen { path, access };
    let landed = state.permit_path(name, Follow::Whole, operation)?;
    Ok(state.lent.open_tree(&landed, access)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_trees_are_wanted() {
        let need = |capability, value: &str| Need::new(capability, value).unwrap();
        let needs = [
            need(Capability::TargetRead, "/etc/**"),
            need(Capability::TargetWrite, "/srv/www/**"),
            need(Capability::TargetRead, "/srv//www/**"),
            need(Capability::TargetWrite, "/opt/*/**"),
            need(Capability::TargetWrite, "/etc/motd"),
            need(Capability::TargetRead, "/**"),
        ];
        let found: Vec<(String, Access)> = wanted(&needs).into_iter().collect();
        let expected = [("/", Access::Read), ("/etc", Access::Read), ("/srv/www", Access::Write)];
        assert_eq!(found, expected.map(|(path, access)| (path.to_owned(), access)));
    }
}
