//! `dibw build`: plans, checks everything that can be checked early, then builds in namespaces of its own.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::Context;
use dibw_engine::offers::Offers;
use dibw_engine::report::Recorder;
use dibw_engine::{Caller, Failure, Paths};
use dibw_plan::{Fault, FaultKind, Faults, Plan};

use super::{End, Outcome};
use crate::arguments::ImageArgs;
use crate::layers::LayerArgs;
use crate::offers::OfferArgs;
use crate::progress::{self, LogFormat};
use crate::timings;

/// Build an image from elements.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dibw build -o server debian-minimal vm block-device-gpt
  dibw build -o server -t qcow2,raw -p vim,htop --image-size 4GiB debian-minimal vm block-device-efi
  dibw build --set users.accounts='[{name: ada, sudo: passwordless, authorized-keys: [\"ssh-ed25519 AAAA...\"]}]' debian-minimal vm users
  dibw build ./my-element ./other.wasm debian-minimal
  dibw build --config images.yaml

Variables named DIB_* are seen by elements. DIBW_LOG=debug shows every command and mount.")]
pub struct Args {
    #[command(flatten)]
    image: ImageArgs,

    #[command(flatten)]
    offers: OfferArgs,

    /// How progress is written to standard error
    #[arg(long, value_enum, default_value = "auto")]
    log_format: LogFormat,

    /// Show everything that hooks print
    #[arg(short, long)]
    verbose: bool,

    /// Tell at the end what took how long, the longest step first
    #[arg(long)]
    timings: bool,

    #[command(flatten)]
    places: Places,

    #[command(flatten)]
    layers: LayerArgs,
}

/// Where a build keeps things.
#[derive(clap::Args, Clone)]
pub struct Places {
    /// Where work files go; needs a file system that can be an overlay's upper (not an overlay itself)
    #[arg(long, value_name = "DIR", default_value = "/var/lib/dibw/work", env = "DIBW_WORK_DIR")]
    work_dir: PathBuf,

    /// Where downloads and compiled components are kept
    #[arg(long, value_name = "DIR", default_value = "/var/cache/dibw", env = "DIBW_CACHE_DIR")]
    cache_dir: PathBuf,

    /// Keep work files on disk even when memory would do
    #[arg(long)]
    no_tmpfs: bool,
}

impl Places {
    /// As the engine takes them.
    ///
    /// # Errors
    /// For an empty path.
    pub fn paths(&self) -> anyhow::Result<Paths> {
        Ok(Paths {
            work_base: absolute(&self.work_dir)?,
            cache: absolute(&self.cache_dir)?,
            tmpfs: !self.no_tmpfs,
            least_memory: None,
            image_cache: None,
            lockfiles: None,
            layers: None,
        })
    }
}

/// Prints the paths of the artifacts to standard output.
pub fn run(args: &Args) -> Outcome {
    let mut faults = Faults::default();
    if args.timings && matches!(args.log_format, LogFormat::Json) {
        let fault = Fault::new(FaultKind::Usage, "--timings is for people, --log-format json is not");
        faults.0.push(fault.hint("each step-done event has the time of its step"));
    }
    let (plans, offers) = (faults.take(super::plan::plans(&args.image)), faults.take(args.offers.offers()));
    let (Some(plans), Some(mut offers), true) = (plans, offers, faults.0.is_empty()) else {
        return Err(faults.into());
    };
    let all: Vec<&Plan> = plans.iter().map(|(_, plan)| plan).collect();
    crate::offers::add_of_policy(&mut offers, &args.image.policy()?, &all)?;
    let paths = args.layers.add_to(args.places.paths()?);
    check(plans.iter().map(|(_, plan)| plan), &paths)?;
    for (_, plan) in &plans {
        build_one(args, plan, &paths, &offers)?;
    }
    Ok(())
}

/// Everything that needs the machine and can fail before anything is touched.
///
/// # Errors
/// All of it at once.
pub fn check<'a>(plans: impl Iterator<Item = &'a Plan>, paths: &Paths) -> Result<(), Faults> {
    let mut faults = Faults::default();
    for plan in plans {
        faults.take(dibw_engine::check::machine(plan, paths));
    }
    faults.0.dedup();
    faults.or(())
}

/// One image, in a child process with its own mount and pid namespaces, so that nothing outlives it.
fn build_one(args: &Args, plan: &Plan, paths: &Paths, offers: &Offers) -> Outcome {
    let path = dibw_engine::catalogue::elements_path()?;
    let variables = [crate::arguments::elements_path_variable(&path)].into();
    let caller = Caller { variables, offers: offers.clone(), ..Caller::default() };
    let status = dibw_sys::supervise::run_build(|| {
        let recorder = Rc::new(Recorder::new(progress::listener(args.log_format, args.verbose).into()));
        let outcome = dibw_engine::build(plan, paths, &caller, recorder.clone());
        match outcome {
            Ok(artifacts) => {
                if args.timings {
                    progress::say(&timings::table(&recorder.kept().steps, recorder.elapsed()));
                }
                for path in artifacts.files {
                    // The artifacts are there, whether or not somebody still listens.
                    if let Err(error) = writeln!(std::io::stdout(), "{}", path.display()) {
                        tracing::debug!("standard output: {error}");
                    }
                }
                0
            }
            Err(failure) => {
                report(args.log_format, &failure);
                i32::from(failure.kind.exit_code())
            }
        }
    })?;
    dibw_engine::check::clean_dead(paths);
    ended(status, args.log_format)
}

/// What the status of the process that built means.
///
/// # Errors
/// Every status but 0.
pub fn ended(status: i32, format: LogFormat) -> Outcome {
    match (status, u8::try_from(status)) {
        (0, _) => Ok(()),
        // It has said everything itself.
        (1..=3 | INTERRUPTED, Ok(status)) => Err(End::Status(status)),
        _ => {
            report(format, &died(status));
            Err(End::Status(FaultKind::Build.exit_code()))
        }
    }
}

/// 128 + SIGINT, which is also the exit code of an interrupted build.
const INTERRUPTED: i32 = 130;

/// The process that built ended in no way of its own.
pub fn died(status: i32) -> Failure {
    match status {
        129..=192 => Failure::new(format!("the build was ended by signal {}", status - 128)).hint(
            "signal 9 comes from somebody with kill -9, or from a kernel that is out of memory (see dmesg)",
        ),
        status => Failure::new(format!("the build ended unexpectedly with status {status}"))
            .hint("this is an error of dibw itself; what it printed above belongs into a report"),
    }
}

/// Directories are used from other directories and namespaces.
///
/// # Errors
/// For an empty path.
pub fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("directory {}", path.display()))
}

/// Tells why a build failed.
pub fn report(format: LogFormat, failure: &Failure) {
    match format {
        LogFormat::Json => eprintln!("{}", failure.to_json()),
        LogFormat::Auto | LogFormat::Plain => eprintln!("{failure}"),
    }
}
