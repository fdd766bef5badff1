//! The command lines and variables of `disk-image-create` and `ramdisk-image-create` -> a Request and how it is to be run.
//! Facts: compat/CONTRACT.md sections 1.1, 1.2, 2.3, 3.1 and 4.1. Called by the command line.

mod declare;
mod options;
mod request;

use std::collections::BTreeMap;

use dibw_plan::{Faults, Request};

pub use options::{Name, usage};

/// The version of diskimage-builder whose behaviour this is; what `--version` prints.
pub const VERSION: &str = "3.43.0";

/// A caller's variables.
pub type Variables = BTreeMap<String, String>;

/// What a command line asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked {
    /// The usage text.
    Help,
    /// The version.
    Version,
    /// An image.
    Build(Box<Build>),
}

/// An image, and how it is built.
#[derive(Debug, Clone, PartialEq)]
pub struct Build {
    /// What the image is to be. The text of a `DIB_BLOCK_DEVICE_CONFIG=file://...` is still to be read: see `block_device_file`.
    pub request: Request,
    /// The file with the block device configuration, when it is one.
    pub block_device_file: Option<String>,
    /// The file with the manifest of an `aci`, still to be read.
    pub aci_manifest_file: Option<String>,
    /// What hooks see of the caller's environment: all of it, unless `-c` cleared it.
    pub environment: Variables,
    /// Where the log goes beside standard output, if anywhere.
    pub logfile: Option<String>,
    /// Nothing on standard output.
    pub quiet: bool,
    /// No time in front of the lines on standard output.
    pub no_timestamp: bool,
    /// Work in memory is allowed.
    pub tmpfs: bool,
    /// GiB of memory work may need: it is only kept there on a machine with twice as much.
    pub min_tmpfs: f64,
    /// Where work directories go, if the caller says so.
    pub temporary: Option<String>,
    /// Downloads that outlive a build.
    pub image_cache: String,
    /// Locks between builds.
    pub lockfiles: String,
}

/// Reads a command line; `environment` is the caller's, `arch` this machine's architecture in Debian's spelling.
///
/// # Errors
/// Everything that is wrong with options and variables.
pub fn parse(name: Name, arguments: &[String], environment: &Variables, arch: &str) -> Result<Asked, Faults> {
    let options = options::read(name, arguments)?;
    if options.help {
        return Ok(Asked::Help);
    }
    if options.version {
        return Ok(Asked::Version);
    }
    request::build(name, arguments, &options, environment, arch).map(|build| Asked::Build(Box::new(build)))
}
