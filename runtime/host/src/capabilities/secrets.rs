//! `secrets`: the engine puts one where it is needed; its bytes never come here.

use dibw_policy::Operation;

use crate::bindings::dibw::element::secrets::Host;
use crate::gate::{Answer, State};
use crate::lent::Follow;

impl Host for State {
    fn write_file(&mut self, name: String, path: String, mode: u32) -> Answer<()> {
        self.answer(|state| {
            // The mode is a matter of the file, not of the secret.
            let path =
                state.permit_path(&path, Follow::Parents, |path| Operation::WriteFile { path, mode })?;
            let path = state.permit_path(&path, Follow::Parents, |path| Operation::WriteSecret {
                name: name.clone(),
                path,
            })?;
            Ok(state.lent.write_secret(&name, &path, mode)?)
        })
    }
}
