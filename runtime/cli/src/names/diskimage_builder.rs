//! The command `diskimage-builder`: builds the images of definition files, each with a command of its own.
//! Facts: compat/CONTRACT.md section 3.2.

use std::ffi::OsString;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus};

use clap::{CommandFactory, FromArgMatches, Parser};
use dibw_compat::image_yaml::{self, ImageCommand};
use dibw_plan::{Fault, FaultKind, Faults, NamedText};

/// Build the images that YAML files define.
///
/// Each file is a list of image definitions. An entry without imagename goes on with the image before it; entries of
/// one name are merged: lists grow, mappings are updated, other values are replaced.
#[derive(Parser)]
#[command(name = "diskimage-builder", infer_long_args = true, max_term_width = 110)]
struct Args {
    /// Print the disk-image-create and ramdisk-image-create commands and stop
    #[arg(long)]
    dry_run: bool,

    /// Stop at the first image that can't be built
    #[arg(long)]
    stop_on_failure: bool,

    /// Files of image definitions
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Where the printed commands lie, when `_LIB` does not say.
const LIBRARY: &str = "/var/cache/dibw/lib";

/// Runs it. The exit status is that of the last image that failed.
pub fn run(arguments: Vec<OsString>) -> ExitCode {
    let command =
        Args::command().after_help(format!("Keys of a definition:\n{}", image_yaml::describe_keys()));
    let matches = super::matches(command, "diskimage-builder", arguments);
    let args = match matches.and_then(|matches| Args::from_arg_matches(&matches).map_err(super::refuse)) {
        Ok(args) => args,
        Err(code) => return code,
    };
    match commands(&args.files) {
        Ok(commands) => ExitCode::from(build_all(&args, &commands)),
        Err(faults) => {
            eprintln!("{faults}");
            ExitCode::FAILURE
        }
    }
}

fn commands(files: &[PathBuf]) -> Result<Vec<ImageCommand>, Faults> {
    let mut faults = Faults::default();
    let mut sources = Vec::new();
    for file in files {
        match std::fs::read_to_string(file) {
            Ok(text) => sources.push(NamedText { name: file.display().to_string(), text }),
            Err(error) => {
                let message = format!("cannot read {}: {error}", file.display());
                faults.push(Fault::new(FaultKind::Usage, message));
            }
        }
    }
    let commands = faults.take(image_yaml::commands(&sources)).unwrap_or_default();
    faults.or(commands)
}

/// Prints every command and, unless it is a dry run, runs it; gives the last status that is not 0.
fn build_all(args: &Args, commands: &[ImageCommand]) -> u8 {
    let library = std::env::var("_LIB").ok().filter(|library| !library.is_empty());
    let library = library.as_deref().unwrap_or(LIBRARY);
    let mut failed = 0;
    for command in commands {
        eprintln!("{}\n", command.line(library));
        if args.dry_run {
            continue;
        }
        let status = build(command);
        if status != 0 {
            eprintln!("diskimage-builder: image {} failed with status {status}", command.image);
            failed = status;
            if args.stop_on_failure {
                break;
            }
        }
    }
    failed
}

/// One image, made by this program under the other name.
fn build(command: &ImageCommand) -> u8 {
    let child = Command::new("/proc/self/exe")
        .arg0(command.program)
        .args(&command.arguments)
        .envs(command.environment.iter().map(|(name, value)| (name, value)))
        .status();
    match child {
        Ok(status) => status_code(status),
        Err(error) => {
            eprintln!("error: cannot start {}: {error}", command.program);
            1
        }
    }
}

/// As a shell gives it: 128 and the number of the signal that ended it.
fn status_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
