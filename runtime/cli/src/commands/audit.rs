//! `dibw audit`: what a build's audit log holds, and whether it is whole.

use std::path::PathBuf;

use dibw_plan::{Fault, FaultKind};
use dibw_policy::audit::{Summary, verify};
use dibw_policy::subject::escape;

use super::{End, Outcome};
use crate::arguments::read_named;

/// Verify an audit log and summarise it: who asked for what how often, and what was refused.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  dibw audit image.audit.jsonl

Every line holds the SHA-256 of the line before, and the last says that it is the last: a line that was changed, removed, added or moved
is found. Exit codes: 0 whole, 1 broken, 2 can't be read.")]
pub struct Args {
    /// The log, `NAME.audit.jsonl`
    file: PathBuf,

    /// Fail when something was refused, too
    #[arg(long)]
    fail_on_denied: bool,
}

/// Prints to standard output.
pub fn run(args: &Args) -> Outcome {
    let log = read_named(&args.file, FaultKind::Config)?;
    let summary = match verify(&log.text) {
        Ok(summary) => summary,
        Err(fault) => {
            let broken = Fault::new(FaultKind::Build, format!("the log is not whole: {}", fault.why));
            return Err(broken.at(log.name, fault.line, 0).into());
        }
    };
    print(&summary);
    match args.fail_on_denied && !summary.denied.is_empty() {
        true => Err(End::Status(FaultKind::Policy.exit_code())),
        false => Ok(()),
    }
}

fn print(summary: &Summary) {
    println!("chain whole: {} records", summary.records);
    for (element, found) in &summary.elements {
        let mut counts = vec![format!("{} allowed", found.allowed), format!("{} denied", found.denied)];
        counts.extend((found.would_deny > 0).then(|| format!("{} would be denied", found.would_deny)));
        counts.extend((found.malformed > 0).then(|| format!("{} malformed", found.malformed)));
        println!("\n{}  {}", escape(element), counts.join(", "));
        for (capability, count) in &found.capabilities {
            println!("  {count:>6}  {}", escape(capability));
        }
    }
    if !summary.denied.is_empty() {
        println!("\nrefused:");
    }
    for line in &summary.denied {
        let (element, capability) = (escape(&line.element), escape(&line.cap));
        println!("  {} {element} {} {capability} {}", line.seq, escape(&line.phase), escape(&line.subject));
        println!("      {}: {}", escape(&line.decision), escape(&line.rule));
    }
}
