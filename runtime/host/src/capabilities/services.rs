//! `services`: units of the target's service manager.

use dibw_policy::{Operation, ServiceAction};

use crate::bindings::dibw::element::services::Host;
use crate::gate::{Answer, State};

impl Host for State {
    fn enable(&mut self, unit: String) -> Answer<()> {
        self.set_service(ServiceAction::Enable, &unit)
    }

    fn disable(&mut self, unit: String) -> Answer<()> {
        self.set_service(ServiceAction::Disable, &unit)
    }

    fn mask(&mut self, unit: String) -> Answer<()> {
        self.set_service(ServiceAction::Mask, &unit)
    }
}

impl State {
    fn set_service(&mut self, action: ServiceAction, unit: &str) -> Answer<()> {
        self.answer(|state| {
            state.permit(&Operation::SetService { action, unit: unit.to_owned() })?;
            Ok(state.lent.set_service(action, unit)?)
        })
    }
}
