//! `config`: the element's own configuration. Always granted.

use crate::bindings::dibw::element::config::Host;
use crate::gate::State;

impl Host for State {
    fn get(&mut self) -> wasmtime::Result<String> {
        self.count_call()?;
        Ok(self.config.clone())
    }
}
