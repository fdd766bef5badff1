//! `packages`: requests that join the phase's package transaction.

use dibw_policy::Operation;

use crate::bindings::dibw::element::packages::Host;
use crate::gate::{Answer, State};

impl Host for State {
    fn install(&mut self, names: Vec<String>) -> Answer<()> {
        self.answer(|state| {
            for name in &names {
                state.permit(&Operation::InstallPackage { name: name.clone() })?;
            }
            Ok(state.lent.install_packages(&names)?)
        })
    }

    fn remove(&mut self, names: Vec<String>) -> Answer<()> {
        self.answer(|state| {
            for name in &names {
                state.permit(&Operation::RemovePackage { name: name.clone() })?;
            }
            Ok(state.lent.remove_packages(&names)?)
        })
    }

    fn add_repository(&mut self, id: String) -> Answer<()> {
        self.answer(|state| {
            state.permit(&Operation::AddRepository { id: id.clone() })?;
            Ok(state.lent.add_repository(&id)?)
        })
    }
}
