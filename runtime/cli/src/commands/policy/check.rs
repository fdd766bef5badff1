//! `dibw policy check`: findings and scores of policy files.

use std::path::PathBuf;

use dibw_plan::Element;
use dibw_policy::check::{Report, band, check};
use dibw_policy::{Mode, Policy};

use crate::commands::{End, Outcome};
use crate::policy_files::{SITE, named, of_policy, site};

/// What to check, and when it fails.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dibw policy check                         the site's policy, with who may write its files
  dibw policy check ./policy.d --fail-on 5

A score says how much is handed out: 10 * (1 - e^(-sum of weights / 60)). High means exposed, not vulnerable; zero does not mean safe.
Exit codes: 0 nothing found, 1 an error, or a score at or above --fail-on, 2 not a policy.")]
pub struct Args {
    /// Policy files, or directories of them [default: the site's]
    #[arg(value_name = "FILE|DIR")]
    files: Vec<PathBuf>,

    /// Fail from this score on, 0 to 10 [default: the policy's check.fail_on, or 7.0]
    #[arg(long, value_name = "SCORE", value_parser = score)]
    fail_on: Option<f64>,

    /// Show all that adds to each score, with its weight
    #[arg(long)]
    weights: bool,
}

/// Prints to standard output.
pub fn run(args: &Args) -> Outcome {
    let files = if args.files.is_empty() { site()? } else { named(&args.files)? };
    let policy = Policy::of_site(files).map_err(of_policy)?;
    // Elements that can't be found are no fault of the policy's: what is installed is then not known.
    let installed = dibw_engine::catalogue::elements_path()
        .and_then(|path| dibw_engine::catalogue::read(&path, &[]))
        .map(|catalogue| catalogue.elements.values().map(Element::identity).collect::<Vec<_>>())
        .ok();
    let report = check(&policy, installed.as_deref());
    let limit = args.fail_on.unwrap_or_else(|| policy.fail_on());
    print(&policy, &report, limit, args);
    match report.has_errors() || report.overall() >= limit {
        true => Err(End::Status(1)),
        false => Ok(()),
    }
}

fn print(policy: &Policy, report: &Report, limit: f64, args: &Args) {
    let mode = match policy.mode() {
        Mode::Enforce => "enforce",
        Mode::Audit => "audit",
    };
    match policy.site() {
        None => println!("policy built-in (no files in {SITE})"),
        Some(layer) => {
            let grants: usize = layer.files().iter().map(|file| file.grants.len()).sum();
            let digest = policy.digest();
            let plural = if grants == 1 { "" } else { "s" };
            println!("policy {}: {mode}, {grants} grant{plural}, hash {}", layer.label(), &digest[..12]);
        }
    }
    for finding in &report.findings {
        println!("{finding}");
    }
    println!("\n EXPOSURE  {:<32} {:>5}  highest finding", "element", "score");
    for exposure in &report.exposures {
        let highest = exposure.factors.first().map_or("nothing", |factor| factor.what.as_str());
        println!("           {:<32} {:>5.1}  {highest}", exposure.element, exposure.score());
        for factor in exposure.factors.iter().filter(|_| args.weights) {
            println!("           {:<32} {:>5}    {}", "", format!("+{}", factor.weight), factor.what);
        }
    }
    let from = if args.fail_on.is_some() { "--fail-on" } else { "check.fail_on" };
    println!(" overall {:.1} {} (limit {limit:.1} from {from})", report.overall(), band(report.overall()));
}

fn score(text: &str) -> Result<f64, String> {
    let score = text.parse::<f64>().ok().filter(|score| (0.0..=10.0).contains(score));
    score.ok_or_else(|| "it is not a number from 0 to 10".to_owned())
}
