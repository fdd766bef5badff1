//! `dibw doctor`: what this machine offers, and what dead builds left behind.

use std::path::PathBuf;

use dibw_sys::probe;

use super::{End, Outcome};

/// Check this machine: tools, kernel features, room, and what killed builds left (which is removed).
#[derive(clap::Args)]
pub struct Args {
    /// The work directory of builds
    #[arg(long, value_name = "DIR", default_value = "/var/lib/dibw/work", env = "DIBW_WORK_DIR")]
    work_dir: PathBuf,

    /// Only look: remove nothing
    #[arg(long)]
    dry_run: bool,
}

/// Prints to standard output; exit 1 when a build could not work here.
pub fn run(args: &Args) -> Outcome {
    let mut usable = true;
    for finding in probe::machine(&args.work_dir) {
        usable &= !finding.fatal();
        println!("{finding}");
    }
    for cleaned in dibw_sys::work_dir::clean_dead(&args.work_dir, args.dry_run)? {
        println!("{cleaned}");
    }
    if usable { Ok(()) } else { Err(End::Status(1)) }
}
