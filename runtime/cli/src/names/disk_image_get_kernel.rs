//! The command `disk-image-get-kernel`: kernel and initial ramdisk of an image as files of their own. diskimage-builder 3 has it no more;
//! its options are those of the older ones.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use dibw_compat::boot_files::Patterns;
use dibw_engine::boot_files::{Extraction, extract};

/// Copy kernel and initial ramdisk out of an image.
///
/// They are written to DIR/NAME-vmlinuz and DIR/NAME-initrd, over older files of these names. The newest kernel in /boot is taken, or the
/// newest that DIB_BAREMETAL_KERNEL_PATTERN and DIB_BAREMETAL_INITRD_PATTERN match. It needs root, to mount the image for reading.
#[derive(Parser)]
#[command(name = "disk-image-get-kernel", max_term_width = 110)]
struct Args {
    /// Directory to write to
    #[arg(short = 'd', value_name = "DIR", default_value = ".")]
    directory: PathBuf,

    /// First part of the names of the files
    #[arg(short = 'o', value_name = "NAME")]
    name: String,

    /// The image, raw or qcow2
    #[arg(short = 'i', value_name = "IMAGE")]
    image: PathBuf,

    /// Show every mount
    #[arg(short = 'x', action = clap::ArgAction::Count)]
    trace: u8,
}

/// Runs it, and prints the paths of the two files.
pub fn run(arguments: Vec<OsString>) -> ExitCode {
    let args = match super::parse::<Args>("disk-image-get-kernel", arguments) {
        Ok(args) => args,
        Err(code) => return code,
    };
    crate::logging::start_at(if args.trace > 0 { "debug" } else { "warn" });
    let worked = || match write(&args) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("error: {error:#}");
            1
        }
    };
    match dibw_sys::supervise::run_build(worked) {
        Ok(status) => ExitCode::from(u8::try_from(status).unwrap_or(1)),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn write(args: &Args) -> Result<()> {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let patterns = Patterns {
        kernel: variable("DIB_BAREMETAL_KERNEL_PATTERN"),
        ramdisk: variable("DIB_BAREMETAL_INITRD_PATTERN"),
    };
    let directory = std::path::absolute(&args.directory)
        .with_context(|| format!("directory {}", args.directory.display()))?;
    let written = extract(&Extraction {
        image: &args.image,
        directory: &directory,
        name: &args.name,
        patterns: &patterns,
        distro_name: &variable("DISTRO_NAME"),
    })?;
    for path in written {
        println!("{}", path.display());
    }
    Ok(())
}
