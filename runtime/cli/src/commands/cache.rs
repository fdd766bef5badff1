//! `dibw cache`: what is kept of earlier builds.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use dibw_engine::Cached;
use dibw_engine::layers::LastBuild;
use dibw_engine::layers::store::{Entry, Store};
use dibw_plan::size::for_people;
use dibw_plan::{Fault, FaultKind};

use super::build::absolute;
use super::{End, Outcome};
use crate::layers::{parse_limit, settings};

/// Show, check and shrink what is kept of earlier builds: layers of steps, and outputs.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dibw cache why server                what the last build of ./server took from the cache, and why not the rest
  dibw cache prune --limit 5GiB        remove the least recently used until 5 GiB are left
  dibw cache prune --unused 30         remove what was not used for 30 days")]
pub struct Args {
    #[command(subcommand)]
    command: Command,

    /// Where caches are
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/var/cache/dibw",
        env = "DIBW_CACHE_DIR",
        global = true
    )]
    cache_dir: PathBuf,
}

#[derive(clap::Subcommand)]
enum Command {
    /// List what is kept, most recently used first
    List,
    /// Remove the least recently used; what a build uses stays
    Prune {
        /// Most that is left, like 5GiB
        #[arg(long, value_name = "SIZE", value_parser = parse_limit)]
        limit: Option<u64>,
        /// Remove what was not used for so many days
        #[arg(long, value_name = "DAYS")]
        unused: Option<u64>,
        /// Remove everything
        #[arg(long, conflicts_with_all = ["limit", "unused"])]
        all: bool,
    },
    /// Read every byte that is kept; what is damaged is removed, and the exit status is 1
    Verify,
    /// What the last build of an image took from the cache, and why each other step ran
    Why {
        /// Path prefix of the image's artifacts, as given to `build -o`
        #[arg(value_name = "NAME")]
        image: PathBuf,
        /// Only this step
        #[arg(value_name = "STEP")]
        step: Option<String>,
    },
}

/// Prints to standard output.
pub fn run(args: &Args) -> Outcome {
    let directory = settings(&absolute(&args.cache_dir)?).directory;
    let Some(store) = Store::existing(&directory) else {
        if std::fs::symlink_metadata(&args.cache_dir).is_ok() && !dibw_sys::probe::is_root() {
            let fault = Fault::new(FaultKind::Host, format!("{} is root's alone", directory.display()));
            return Err(fault.hint("sudo dibw cache ...").into());
        }
        println!("nothing is kept in {}", directory.display());
        return Ok(());
    };
    match &args.command {
        Command::List => list(&store),
        Command::Prune { limit, unused, all } => {
            let unused = unused.map(|days| Duration::from_secs(days.saturating_mul(86400)));
            let limit = if *all { 0 } else { limit.unwrap_or(u64::MAX) };
            if !*all && limit == u64::MAX && unused.is_none() {
                let fault =
                    Fault::new(FaultKind::Usage, "what is to go? give --limit SIZE, --unused DAYS or --all");
                return Err(fault.into());
            }
            let gone = store.prune(limit, unused)?;
            let bytes: u64 = gone.iter().map(|entry| entry.bytes).sum();
            println!("removed {} ({})", count(gone.len()), for_people(bytes));
            Ok(())
        }
        Command::Verify => verify(&store),
        Command::Why { image, step } => why(&store, image, step.as_deref()),
    }
}

fn list(store: &Store) -> Outcome {
    let entries = store.entries()?;
    println!("{:<12}  {:>10}  {:>9}  {:<44}  IMAGE", "ID", "SIZE", "USED", "STEP");
    for (used, Entry { id, bytes, title, image, .. }) in entries.iter().rev() {
        println!(
            "{:<12}  {:>10}  {:>9}  {title:<44}  {image}",
            &id[..12.min(id.len())],
            for_people(*bytes),
            ago(*used)
        );
    }
    let bytes: u64 = entries.iter().map(|(_, entry)| entry.bytes).sum();
    println!("{}, {}", count(entries.len()), for_people(bytes));
    Ok(())
}

fn verify(store: &Store) -> Outcome {
    let (whole, damages) = store.verify()?;
    for damage in &damages {
        println!(
            "damaged, removed: {} of {}: {}",
            &damage.id[..12.min(damage.id.len())],
            damage.title,
            damage.what
        );
    }
    println!("{} whole, {} damaged", count(whole), damages.len());
    if damages.is_empty() { Ok(()) } else { Err(End::Status(1)) }
}

fn why(store: &Store, image: &Path, step: Option<&str>) -> Outcome {
    let image = absolute(image)?;
    let Some(last) = store.last_build::<LastBuild>(&image) else {
        let fault =
            Fault::new(FaultKind::Usage, format!("nothing is known of a build of {}", image.display()));
        return Err(fault.hint("give the path prefix that `dibw build -o` had").into());
    };
    let mut found = false;
    for known in last.steps.iter().filter(|known| step.is_none_or(|step| known.title.contains(step))) {
        println!("{}", line(&known.title, &known.cached));
        found = true;
    }
    match (found, step) {
        (false, Some(step)) => Err(Fault::new(FaultKind::Usage, format!("no step is named {step}")).into()),
        _ => Ok(()),
    }
}

/// One step and what the cache said of it.
pub fn line(title: &str, cached: &Cached) -> String {
    match cached {
        Cached::No => format!("{title:<44}  -"),
        Cached::Hit { saved } => format!("{title:<44}  hit    ({:.1} s saved)", saved.as_secs_f64()),
        Cached::Miss { reason } => format!("{title:<44}  miss   {reason}"),
    }
}

fn count(entries: usize) -> String {
    if entries == 1 { "1 entry".to_owned() } else { format!("{entries} entries") }
}

fn ago(time: SystemTime) -> String {
    match time.elapsed().unwrap_or_default().as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86400),
    }
}
