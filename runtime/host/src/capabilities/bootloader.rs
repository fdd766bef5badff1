//! `bootloader`: the engine runs the installer that it knows for a kind.

use dibw_policy::{BootLoader, Operation};

use crate::bindings::dibw::element::bootloader::Host;
use crate::bindings::dibw::element::types::Error;
use crate::gate::{Answer, Halt, State};

impl Host for State {
    fn install(&mut self, kind: String) -> Answer<()> {
        self.answer(|state| {
            let kind: BootLoader = kind.parse().map_err(|wrong| Halt::Guest(Error::Invalid(wrong)))?;
            state.permit(&Operation::InstallBootloader { kind })?;
            Ok(state.lent.install_bootloader(kind)?)
        })
    }
}
