//! `dibw shell`: a shell in the target as it was at some step of a build, from the layers.

use dibw_engine::Caller;
use dibw_engine::layers::look::{At, Stop};
use dibw_plan::{Fault, FaultKind, Faults};

use super::Outcome;
use super::build::{Places, check, ended, report};
use crate::arguments::ImageArgs;
use crate::layers::LayerArgs;
use crate::offers::OfferArgs;
use crate::progress::{self, LogFormat};

/// Open a shell in the target as it was before or after a step of a build.
#[derive(clap::Args)]
#[command(after_help = "\
Give the arguments of the build. Steps whose layers are still in the cache are not done again; changes in the shell are thrown away.

Examples:
  dibw shell --before post-install:97-vm-initramfs debian-minimal vm
  dibw shell --after 99-site -c 'dpkg -l | grep openssh' debian-minimal ./site
  dibw shell --failed -o server debian-minimal vm ./broken")]
pub struct Args {
    #[command(flatten)]
    image: ImageArgs,

    #[command(flatten)]
    offers: OfferArgs,

    /// Before this step: its number, its name, or PHASE:NAME
    #[arg(long, value_name = "STEP", group = "point")]
    before: Option<String>,

    /// After this step
    #[arg(long, value_name = "STEP", group = "point")]
    after: Option<String>,

    /// In what the step left that failed in the last build of this image
    #[arg(long, group = "point")]
    failed: bool,

    /// Run this command line in place of an interactive shell
    #[arg(short, long, value_name = "COMMAND")]
    command: Option<String>,

    #[command(flatten)]
    places: Places,

    #[command(flatten)]
    layers: LayerArgs,
}

/// The exit status is 0 when the shell's is.
pub fn run(args: &Args) -> Outcome {
    let mut faults = Faults::default();
    let (plans, offers) = (faults.take(super::plan::plans(&args.image)), faults.take(args.offers.offers()));
    let (Some(plans), Some(mut offers)) = (plans, offers) else { return Err(faults.into()) };
    let [(_, plan)] = plans.as_slice() else {
        let message = "a shell is of one image, and the image file has several";
        return Err(Fault::new(FaultKind::Usage, message).into());
    };
    crate::offers::add_of_policy(&mut offers, &args.image.policy()?, &[plan])?;
    let at = match (&args.before, &args.after, args.failed) {
        (Some(step), _, _) => At::Before(named(step)),
        (_, Some(step), _) => At::After(named(step)),
        (None, None, true) => At::Failed,
        (None, None, false) => {
            let fault = Fault::new(FaultKind::Usage, "where? give --before STEP, --after STEP or --failed");
            return Err(fault.hint("`dibw plan` lists the steps").into());
        }
    };
    let paths = args.layers.add_to(args.places.paths()?);
    check([plan].into_iter(), &paths)?;
    let path = dibw_engine::catalogue::elements_path()?;
    let variables = [crate::arguments::elements_path_variable(&path)].into();
    let caller = Caller { variables, offers, ..Caller::default() };
    let stop = Stop { at, command: args.command.clone() };
    let status = dibw_sys::supervise::run_build(|| {
        let events = progress::listener(LogFormat::Plain, false);
        match dibw_engine::layers::look::shell(plan, &paths, &caller, stop, events.into()) {
            Ok(()) => 0,
            Err(failure) => {
                report(LogFormat::Plain, &failure);
                i32::from(failure.kind.exit_code())
            }
        }
    })?;
    dibw_engine::check::clean_dead(&paths);
    ended(status, LogFormat::Plain)
}

/// `PHASE:NAME` with or without a blank.
fn named(step: &str) -> String {
    match step.split_once(':') {
        Some((phase, name)) => format!("{phase}: {}", name.trim_start()),
        None => step.to_owned(),
    }
}
