//! The command `dib-lint`.

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs it.
pub fn run(_: Vec<OsString>) -> ExitCode {
    eprintln!("dib-lint: not there yet");
    ExitCode::FAILURE
}
