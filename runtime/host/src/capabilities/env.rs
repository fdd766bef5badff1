//! `env`: variables of the phase.

use dibw_policy::Operation;

use crate::bindings::dibw::element::env::Host;
use crate::bindings::dibw::element::types::Error;
use crate::gate::{Answer, Halt, State};

/// Longest value, in bytes: more does not fit into the environment of a later hook's shell (`MAX_ARG_STRLEN` of Linux).
const LONGEST: usize = 128 * 1024 - 256;

impl Host for State {
    fn get(&mut self, name: String) -> Answer<Option<String>> {
        self.answer(|state| {
            state.permit(&Operation::GetVariable { name: name.clone() })?;
            Ok(state.lent.get_variable(&name)?)
        })
    }

    fn set(&mut self, name: String, value: String) -> Answer<()> {
        self.answer(|state| {
            state.permit(&Operation::SetVariable { name: name.clone() })?;
            if value.contains('\0') || value.len() > LONGEST {
                let why = format!("the value of `{name}` contains NUL or is longer than {LONGEST} bytes");
                return Err(Halt::Guest(Error::Invalid(why)));
            }
            Ok(state.lent.set_variable(&name, &value)?)
        })
    }
}
