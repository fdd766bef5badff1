//! The command `disk-image-get-kernel`.

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs it.
pub fn run(_: Vec<OsString>) -> ExitCode {
    eprintln!("disk-image-get-kernel: not there yet");
    ExitCode::FAILURE
}
