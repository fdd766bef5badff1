//! `dibw policy diff`: what changed between two policies.

use std::path::{Path, PathBuf};

use dibw_plan::Faults;
use dibw_policy::Policy;
use dibw_policy::difference::difference;

use crate::commands::{End, Outcome};
use crate::policy_files::{named, of_policy};

/// What to compare.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  dibw policy diff /etc/dibw/policy.d ./policy.d

Exit codes: 0 nothing is wider than before, 1 something is, 2 not a policy.")]
pub struct Args {
    /// The old policy
    #[arg(value_name = "OLD")]
    old: PathBuf,

    /// The new policy
    #[arg(value_name = "NEW")]
    new: PathBuf,
}

/// Prints to standard output; exit code 1 when something is wider.
pub fn run(args: &Args) -> Outcome {
    let changes = difference(&policy(&args.old)?, &policy(&args.new)?);
    for change in &changes {
        println!("{:<8} {}", if change.widens { "WIDENED" } else { "narrowed" }, change.what);
    }
    if changes.is_empty() {
        println!("no difference");
    }
    match changes.iter().any(|change| change.widens) {
        true => Err(End::Status(1)),
        false => Ok(()),
    }
}

fn policy(path: &Path) -> Result<Policy, Faults> {
    Policy::of_site(named(&[path.to_owned()])?).map_err(of_policy)
}
