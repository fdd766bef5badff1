//! `dibw plan`: prints what `dibw build` with the same arguments would do, and stops.

use dibw_engine::layers::look::forecast;
use dibw_engine::layers::store::Store;
use dibw_engine::{Cached, Caller};
use dibw_plan::{Plan, Request};

use super::Outcome;
use super::build::{Places, ended, report};
use crate::arguments::ImageArgs;
use crate::layers::LayerArgs;
use crate::offers::OfferArgs;
use crate::progress::LogFormat;

/// Show the ordered steps of a build, where each runs, how it is confined and what it may do, and for which of them there are layers.
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

    #[command(flatten)]
    offers: OfferArgs,

    #[command(flatten)]
    places: Places,

    #[command(flatten)]
    layers: LayerArgs,
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
            Format::Text => {
                print!("{}", dibw_plan::render::to_text(&plan));
                say_layers(args, &plan)?;
            }
            Format::Json => print!("{}", dibw_plan::render::to_json(&plan)),
        }
    }
    Ok(())
}

/// What the cache would say of the steps, for those who may read it.
fn say_layers(args: &Args, plan: &Plan) -> Outcome {
    let paths = args.layers.add_to(args.places.paths()?);
    let kept = paths.layers.as_ref().is_some_and(|layers| Store::existing(&layers.directory).is_some());
    if !kept || !dibw_sys::probe::is_root() || super::build::check([plan].into_iter(), &paths).is_err() {
        return Ok(());
    }
    let mut offers = args.offers.offers()?;
    crate::offers::add_of_policy(&mut offers, &args.image.policy()?, &[plan])?;
    let path = dibw_engine::catalogue::elements_path()?;
    let caller = Caller {
        variables: [crate::arguments::elements_path_variable(&path)].into(),
        offers,
        ..Caller::default()
    };
    let status = dibw_sys::supervise::run_build(|| match forecast(plan, &paths, &caller) {
        Ok(steps) => {
            let mut text = String::from("\nLayers:\n");
            for step in &steps {
                text.push_str(&format!("  {}\n", super::cache::line(&step.title, &step.cached)));
            }
            if steps.last().is_some_and(|last| matches!(last.cached, Cached::Miss { .. })) {
                text.push_str(
                    "  what comes after that runs too, but for hooks that read nothing of what it changes\n",
                );
            }
            print!("{text}");
            0
        }
        Err(failure) => {
            report(LogFormat::Plain, &failure);
            i32::from(failure.kind.exit_code())
        }
    })?;
    ended(status, LogFormat::Plain)
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
