//! The command `dib-block-device`.

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs it.
pub fn run(_: Vec<OsString>) -> ExitCode {
    eprintln!("dib-block-device: not there yet");
    ExitCode::FAILURE
}
