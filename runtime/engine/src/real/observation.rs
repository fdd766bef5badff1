//! Remembering what is read of the target's layers, while that is wanted.

use anyhow::Result;
use dibw_sys::observed::Reads;

use super::RealMachine;
use crate::machine::Inside;

impl RealMachine {
    /// Whether what a command reads is remembered.
    pub(super) fn is_observed(&self, command: &Inside) -> bool {
        let wanted = command.observed && self.hook_mounts.is_empty() && dibw_sys::observed::is_possible();
        self.observing || wanted
    }

    /// Takes the target down that is mounted over a view, and keeps what was read through it.
    pub(super) fn end_view(&mut self) -> Result<()> {
        let Some(view) = self.view.take() else { return Ok(()) };
        self.tree.unmount()?;
        let reads = view.finish()?;
        self.reads = Some(self.reads.take().unwrap_or_else(Reads::none).and(reads));
        Ok(())
    }
}
