//! The commands `disk-image-create` and `ramdisk-image-create`.

use std::ffi::OsString;
use std::process::ExitCode;

/// Makes a disk image.
pub fn disk(_: Vec<OsString>) -> ExitCode {
    eprintln!("disk-image-create: not there yet");
    ExitCode::FAILURE
}

/// Makes a ramdisk.
pub fn ramdisk(_: Vec<OsString>) -> ExitCode {
    eprintln!("ramdisk-image-create: not there yet");
    ExitCode::FAILURE
}
