//! `dibw policy test`: runs files of policy tests and prints what passed.

use std::path::{Path, PathBuf};

use dibw_plan::{FaultKind, Faults};
use dibw_policy::Policy;
use dibw_policy::trial::{Run, TrialFile, parse};

use crate::arguments::read_named;
use crate::commands::{End, Outcome};
use crate::policy_files::{named, of_policy, read};

/// What to run.
#[derive(clap::Args)]
#[command(after_help = "\
Example of a file:
  policy: [prod.yaml]              # default: the other *.yaml beside it
  tests:
    - name: motd writes motd
      element: motd
      when: {cap: target.write, path: /etc/motd}
      expect: allow
    - name: redirect to metadata is refused
      element: motd
      when: {cap: net.fetch, url: \"https://mirror.example/r\", resolves: [169.254.169.254]}
      expect: {deny: net.fetch.resolved-ip}
    - {name: vendor hooks are strict, element: vendor, classic: outside, expect: {level: strict}}
    - {name: the recorded build still passes, replay: noble.audit.jsonl, expect: {denials: 0}}

Exit codes: 0 all passed, 1 one failed, 2 a file can't be read.")]
pub struct Args {
    /// Files of tests
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Prints to standard output; exit code 1 when one fails.
pub fn run(args: &Args) -> Outcome {
    let (mut passed, mut failed) = (0, 0);
    for file in &args.files {
        let text = read_named(file, FaultKind::Config)?;
        let trials = parse(&text.name, &text.text).map_err(of_policy)?;
        let directory = file.parent().unwrap_or(Path::new(""));
        let policy = policy(&trials, directory)?;
        let (well, ill) = run_file(file, &trials, &policy, directory);
        passed += well;
        failed += ill;
    }
    println!("{passed} passed, {failed} failed");
    match failed {
        0 => Ok(()),
        _ => Err(End::Status(1)),
    }
}

fn policy(trials: &TrialFile, directory: &Path) -> Result<Policy, Faults> {
    let beside = if directory.as_os_str().is_empty() { PathBuf::from(".") } else { directory.to_owned() };
    let files = match trials.policy.as_slice() {
        [] => named(&[beside])?,
        files => named(&files.iter().map(|name| directory.join(name)).collect::<Vec<_>>())?,
    };
    let policy = Policy::of_site(files).map_err(of_policy)?;
    match &trials.narrowed_by {
        None => Ok(policy),
        Some(name) => policy.narrowed_by(read(&directory.join(name))?).map_err(of_policy),
    }
}

fn run_file(file: &Path, trials: &TrialFile, policy: &Policy, directory: &Path) -> (usize, usize) {
    let names: Vec<&str> =
        policy.files().map(|file| file.name.as_str()).filter(|name| !name.is_empty()).collect();
    println!("{} ({})", if names.is_empty() { policy.label() } else { names.join(", ") }, file.display());
    let recording = |name: &str| {
        let path = directory.join(name);
        std::fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))
    };
    let mut run = Run::new(policy);
    let mut failed = 0;
    for trial in &trials.trials {
        let outcome = run.trial(trial, &recording);
        match (outcome.passed, outcome.note.as_str()) {
            (true, "") => println!("  PASS {}", trial.name),
            (true, note) => println!("  PASS {} ({note})", trial.name),
            (false, note) => println!("  FAIL {}: {note}   line {}", trial.name, trial.line),
        }
        failed += usize::from(!outcome.passed);
    }
    let coverage = run.coverage();
    let used = coverage.rules - coverage.unused.len();
    let unused = match coverage.unused.as_slice() {
        [] => String::new(),
        keys => format!("; never used: {}", keys.join(", ")),
    };
    println!("coverage: {used} of {} rules exercised{unused}", coverage.rules);
    (trials.trials.len() - failed, failed)
}
