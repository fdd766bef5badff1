//! The command `diskimage-builder`.

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs it.
pub fn run(_: Vec<OsString>) -> ExitCode {
    eprintln!("diskimage-builder: not there yet");
    ExitCode::FAILURE
}
