//! `inputs`: files of the machine that builds, offered by name and read before the hook began.

use dibw_policy::Operation;

use crate::bindings::dibw::element::inputs::Host;
use crate::gate::{Answer, State};
use crate::limits::within;

impl Host for State {
    fn read(&mut self, name: String) -> Answer<Vec<u8>> {
        self.answer(|state| {
            state.permit(&Operation::ReadInput { name: name.clone() })?;
            let bytes = state.lent.read_input(&name)?;
            within(&format!("input {name}"), bytes.len(), state.limits.file_bytes)?;
            Ok(bytes)
        })
    }
}
