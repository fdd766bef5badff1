//! `facts`: what is known about the image under construction. Always granted.

use crate::bindings::dibw::element::facts::Host;
use crate::gate::State;

impl Host for State {
    fn get(&mut self, name: String) -> wasmtime::Result<Option<String>> {
        self.count_call()?;
        Ok(self.facts.get(&name).cloned())
    }
}
