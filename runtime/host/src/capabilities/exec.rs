//! `exec`: programs of the target, in the target's sandbox.

use std::time::Duration;

use dibw_policy::Operation;

use crate::bindings::dibw::element::exec::{Host, Output};
use crate::gate::{Answer, State};

/// Longest output given to a guest, in bytes, as the contract says.
const OUTPUT: usize = 1024 * 1024;

impl Host for State {
    fn run(&mut self, argv: Vec<String>, stdin: Vec<u8>, timeout_seconds: u32) -> Answer<Output> {
        self.answer(|state| {
            state.permit(&Operation::Execute { argv: argv.clone() })?;
            let timeout = Duration::from_secs(timeout_seconds.into())
                .min(state.limits.program_time)
                .min(state.time_left());
            let mut output = state.lent.execute(&argv, &stdin, timeout)?;
            output.stdout.truncate(OUTPUT);
            output.stderr.truncate(OUTPUT);
            Ok(Output { stdout: output.stdout, stderr: output.stderr })
        })
    }
}
