//! `dibw plan`: prints what `dibw build` with the same arguments would do, and stops.

use dibw_plan::{Plan, Request};

use super::Outcome;
use crate::arguments::ImageArgs;

/// Show the ordered steps of a build, where each runs, how it is confined and what it may do; touches nothing.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dibw plan debian-minimal vm block-device-gpt
  dibw plan --format json debian-minimal vm | jq '.steps[] | select(.confinement != \"strict\")'")]
pub struct Args {
    #[command(flatten)]
    image: ImageArgs,

    /// How to print it
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Prints to standard output.
pub fn run(args: &Args) -> Outcome {
    for (_, plan) in plans(&args.image)? {
        match args.format {
            Format::Text => print!("{}", dibw_plan::render::to_text(&plan)),
            Format::Json => print!("{}", dibw_plan::render::to_json(&plan)),
        }
    }
    Ok(())
}

/// The plans of the arguments, with the requests they come from.
pub fn plans(image: &ImageArgs) -> Result<Vec<(Request, Plan)>, dibw_plan::Faults> {
    let mut faults = dibw_plan::Faults::default();
    let requests = faults.take(image.requests());
    let mut catalogue = faults.take(image.catalogue());
    let policy = faults.take(image.policy());
    if let (Some(catalogue), Some(policy)) = (&mut catalogue, &policy) {
        faults.take(crate::signers::note(catalogue, policy));
    }
    let grants = faults.take(image.grants());
    let (Some(requests), Some(catalogue), Some(policy), Some(grants)) = (requests, catalogue, policy, grants)
    else {
        return Err(faults);
    };
    let plans = requests
        .into_iter()
        .filter_map(|request| {
            let plan = faults.take(dibw_plan::planner::plan(&request, &catalogue, &policy, &grants))?;
            faults.take(super::lock::enforce(image.lock.as_deref(), &plan))?;
            Some((request, plan))
        })
        .collect();
    faults.or(plans)
}
