//! `kernel`: arguments, modules and settings of the image's kernel, as data. The engine writes the files.

use dibw_policy::Operation;

use crate::bindings::dibw::element::kernel::Host;
use crate::bindings::dibw::element::types::Error;
use crate::gate::{Answer, Halt, State};

/// Most of them that one hook may ask for.
const MOST: usize = 1000;

impl Host for State {
    fn add_argument(&mut self, key: String, value: String) -> Answer<()> {
        self.answer(|state| {
            state.permit(&Operation::AddKernelArgument { key: key.clone(), value: value.clone() })?;
            state.count_setting()?;
            Ok(state.lent.add_kernel_argument(&key, &value)?)
        })
    }

    fn load_module(&mut self, name: String) -> Answer<()> {
        self.answer(|state| {
            state.permit(&Operation::LoadKernelModule { name: name.clone() })?;
            state.count_setting()?;
            Ok(state.lent.load_kernel_module(&name)?)
        })
    }

    fn set_sysctl(&mut self, key: String, value: String) -> Answer<()> {
        self.answer(|state| {
            state.permit(&Operation::SetSysctl { key: key.clone(), value: value.clone() })?;
            state.count_setting()?;
            Ok(state.lent.set_sysctl(&key, &value)?)
        })
    }
}

impl State {
    fn count_setting(&mut self) -> Result<(), Halt> {
        if self.settings == MOST {
            return Err(Halt::Guest(Error::Limit(format!(
                "a hook has at most {MOST} settings for the kernel"
            ))));
        }
        self.settings += 1;
        Ok(())
    }
}
