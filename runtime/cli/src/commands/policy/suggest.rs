//! `dibw policy suggest`: grants from a recorded build.

use std::path::PathBuf;

use dibw_plan::{Fault, FaultKind};
use dibw_policy::audit::verify;
use dibw_policy::suggest::{heading, suggest};

use crate::arguments::read_named;
use crate::commands::Outcome;

/// From what.
#[derive(clap::Args)]
#[command(after_help = "\
Record a build under a policy in audit mode (dibw policy init --learning), then:
  dibw policy suggest --from image.audit.jsonl

What runs as root of the image or exposes the machine is written as a comment: uncomment it after a look. Levels of shell hooks are
never proposed; `dibw element audit` is for those.")]
pub struct Args {
    /// The audit log; its chain is verified first
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
}

/// Prints to standard output.
pub fn run(args: &Args) -> Outcome {
    let log = read_named(&args.from, FaultKind::Config)?;
    let summary = verify(&log.text)
        .map_err(|fault| Fault::new(FaultKind::Config, fault.why).at(&log.name, fault.line, 0))?;
    print!("{}{}", heading(&log.name), suggest(&summary));
    Ok(())
}
