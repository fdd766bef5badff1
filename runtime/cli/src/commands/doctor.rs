//! `dibw doctor`: what this machine offers, and what dead builds left behind.

use std::path::PathBuf;

use dibw_engine::check;
use dibw_sys::work_dir;

use super::{End, Outcome};

/// Check this machine: tools, kernel features, and what killed builds left (which is removed).
#[derive(clap::Args)]
pub struct Args {
    /// The work directory of builds
    #[arg(long, value_name = "DIR", default_value = "/var/lib/dibw/work", env = "DIBW_WORK_DIR")]
    work_dir: PathBuf,
}

/// Prints to standard output; exit 1 when no build could work here.
pub fn run(args: &Args) -> Outcome {
    let findings = check::examine(&args.work_dir);
    for finding in &findings {
        println!("{finding}");
    }
    for cleaned in work_dir::clean_dead(&args.work_dir)? {
        println!("cleaned  {}: {}", cleaned.path.display(), cleaned.done.join(", "));
        if let Some(left) = cleaned.left {
            println!("LEFT     {}: {left}", cleaned.path.display());
        }
    }
    match findings.iter().any(check::Finding::fatal) {
        true => Err(End::Status(1)),
        false => Ok(()),
    }
}
