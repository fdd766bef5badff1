//! `mounts`: what the programs of a hook find mounted in the target. An element names a kind, never a source or options.

use dibw_policy::{MountKind, Operation};

use crate::bindings::dibw::element::mounts::Host;
use crate::bindings::dibw::element::types::Error;
use crate::gate::{Answer, Halt, State};
use crate::lent::Follow;

/// Most mounts of one hook.
const MOST: usize = 16;

impl Host for State {
    fn request(&mut self, kind: String, path: String) -> Answer<()> {
        self.answer(|state| {
            let kind: MountKind = kind.parse().map_err(|wrong| Halt::Guest(Error::Invalid(wrong)))?;
            let path =
                state.permit_path(&path, Follow::Parents, |path| Operation::RequestMount { kind, path })?;
            // Nothing else changes the target while a hook runs.
            match state.lent.stat(&path)? {
                None => {}
                Some(entry) if entry.kind == "dir" => {}
                Some(entry) => {
                    let why =
                        format!("{path} is no directory but a {}: nothing is mounted there", entry.kind);
                    return Err(Halt::Guest(Error::Invalid(why)));
                }
            }
            if state.mounts == MOST {
                return Err(Halt::Guest(Error::Limit(format!("a hook has at most {MOST} mounts"))));
            }
            state.lent.mount(kind, &path)?;
            state.mounts += 1;
            Ok(())
        })
    }
}
