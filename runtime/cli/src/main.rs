//! The `dibw` program: starts things and maps the result to an exit code. Decisions live elsewhere.
#![forbid(unsafe_code)]

mod arguments;
mod classic_log;
mod commands;
mod images;
mod layers;
mod lint;
mod logging;
mod names;
mod offers;
mod policy_files;
mod progress;
mod signers;
mod timings;

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = dibw_sys::entry::dispatch() {
        return code;
    }
    if let Some(code) = dibw_sys::helper::dispatch(&dibw_engine::network::HELPERS) {
        return code;
    }
    names::run().unwrap_or_else(commands::run)
}
