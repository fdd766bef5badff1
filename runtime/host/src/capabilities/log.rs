//! `log`: lines for the build log, and the message of a panic. Always granted, bounded, escaped.

use dibw_policy::subject::escape_controls;

use crate::bindings::dibw::element::log::Host;
use crate::failure::PanicNote;
use crate::gate::State;
use crate::lent::LogLevel;
use crate::limits::Limit;

impl Host for State {
    fn write(&mut self, level: String, message: String) -> wasmtime::Result<()> {
        self.count_call()?;
        self.charge(message.len())?;
        let level = match level.as_str() {
            "debug" => LogLevel::Debug,
            "warn" => LogLevel::Warn,
            "error" => LogLevel::Error,
            // The contract knows `info`; a word of a later version is still worth showing.
            _ => LogLevel::Info,
        };
        for line in message.lines() {
            self.lent.log(level, &escape_controls(line));
        }
        Ok(())
    }

    fn panicked(&mut self, message: String, file: String, line: u32, column: u32) -> wasmtime::Result<()> {
        self.count_call()?;
        let cut: String = message.chars().take(2000).collect();
        self.panic = Some(PanicNote {
            message: escape_controls(&cut),
            file: dibw_policy::subject::escape(&file),
            line,
            column,
        });
        Ok(())
    }
}

impl State {
    /// Counts what is logged.
    pub(crate) fn charge(&mut self, bytes: usize) -> wasmtime::Result<()> {
        // The line itself costs too, or empty ones would be free.
        self.log_bytes = self.log_bytes.saturating_add(bytes).saturating_add(1);
        if self.log_bytes > self.limits.log_bytes {
            return Err(wasmtime::Error::new(Limit::Log(self.limits.log_bytes)));
        }
        Ok(())
    }
}
