//! The command `element-info`.

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs it.
pub fn run(_: Vec<OsString>) -> ExitCode {
    eprintln!("element-info: not there yet");
    ExitCode::FAILURE
}
