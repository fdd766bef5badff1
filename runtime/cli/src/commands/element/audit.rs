//! `dibw element audit`: builds with classic elements, tries their hooks at one level after the other, and prints what they need as a
//! policy.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use dibw_engine::Caller;
use dibw_engine::trials::{Finding, Trials};
use dibw_plan::{Action, Fault, FaultKind, Plan, Side};
use dibw_policy::Level;

use crate::arguments::ImageArgs;
use crate::commands::Outcome;
use crate::commands::build::{Places, check, ended, report};
use crate::progress::{self, LogFormat};

/// The arguments.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dibw element audit ./vendor-raid debian-minimal vm
  dibw element audit --all debian-minimal vm block-device-gpt openssh-server >policy.yaml

The image is built but not written. Each hook of the first element runs at level strict first and, when it fails there, at confined;
never at host. Standard output is the narrowest policy that it ended well with.")]
pub struct Args {
    /// Try the hooks of all elements, not of the first one only
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    image: ImageArgs,

    /// How progress is written to standard error
    #[arg(long, value_enum, default_value = "auto")]
    log_format: LogFormat,

    #[command(flatten)]
    places: Places,
}

/// Prints to standard output.
pub fn run(args: &Args) -> Outcome {
    let Some(first) = args.image.elements.first() else {
        return Err(Fault::new(FaultKind::Usage, "no element is named")
            .hint("dibw element audit NAME debian-minimal vm")
            .into());
    };
    let name = dibw_engine::catalogue::name_of(std::path::Path::new(first));
    let mut plans = crate::commands::plan::plans(&args.image)?;
    let Some((_, mut plan)) = plans.pop().filter(|_| plans.is_empty()) else {
        return Err(Fault::new(FaultKind::Usage, "one image at a time is audited").into());
    };
    let scratch = tempfile::tempdir().context("a directory for what is thrown away")?;
    plan.output = scratch.path().join("image").display().to_string();
    plan.steps.retain(|step| !matches!(step.action, Action::Output { .. }));
    let paths = args.places.paths()?;
    check(std::iter::once(&plan), &paths)?;
    let elements = if args.all { BTreeSet::new() } else { BTreeSet::from([name]) };
    let trials = Trials { elements, ..Trials::default() };
    let path = dibw_engine::catalogue::elements_path()?;
    let caller = Caller {
        variables: [crate::arguments::elements_path_variable(&path)].into(),
        trials: Some(trials.clone()),
        ..Caller::default()
    };
    let status = dibw_sys::supervise::run_build(|| {
        let events = progress::listener(args.log_format, false);
        let outcome = dibw_engine::build(&plan, &paths, &caller, events.into());
        if let Err(failure) = &outcome {
            println!("# the build failed, so this is not all: {}", one_line(&failure.message));
        }
        print!("{}", policy(&trees(&plan), &trials.findings.borrow()));
        match outcome {
            Ok(_) => 0,
            Err(failure) => {
                report(args.log_format, &failure);
                i32::from(failure.kind.exit_code())
            }
        }
    })?;
    dibw_engine::check::clean_dead(&paths);
    ended(status, args.log_format)
}

/// The digests of the elements' directories.
fn trees(plan: &Plan) -> BTreeMap<String, String> {
    plan.elements.iter().map(|element| (element.name.clone(), element.digest.clone())).collect()
}

/// The narrowest policy for what was found, with the reasons as comments.
fn policy(trees: &BTreeMap<String, String>, findings: &[Finding]) -> String {
    let mut text = String::from("api: dibw/policy/v1\nclassic:\n  default: deny\n  allow:\n");
    let mut by_element: BTreeMap<&str, Vec<&Finding>> = BTreeMap::new();
    for finding in findings {
        by_element.entry(&finding.element).or_default().push(finding);
    }
    for (element, findings) in by_element {
        for finding in &findings {
            for line in told(finding) {
                text.push_str(&format!("    # {line}\n"));
            }
        }
        let outside = findings.iter().filter(|finding| finding.side == Side::Outside);
        let level = outside.clone().filter_map(|finding| finding.level).max().unwrap_or(Level::Strict);
        let net: BTreeSet<&str> =
            findings.iter().flat_map(|finding| &finding.net).map(String::as_str).collect();
        let tree = trees.get(element).map(|tree| format!(", tree: \"sha256:{tree}\"")).unwrap_or_default();
        let net = match level {
            Level::Strict if !net.is_empty() => {
                let origins: Vec<String> =
                    net.iter().map(|origin| format!("{{origin: \"{origin}\"}}")).collect();
                format!(", net: [{}]", origins.join(", "))
            }
            _ => String::new(),
        };
        text.push_str(&format!("    - {{element: {element}, level: {level}{net}{tree}}}\n"));
    }
    text
}

/// What one hook needs, a line each.
fn told(finding: &Finding) -> Vec<String> {
    let side = match finding.side {
        Side::Outside => "outside",
        Side::Inside => "in the target",
    };
    let level = finding.level.map_or("nothing that was tried", Level::name);
    let mut lines = vec![format!("{} ({side}): {level}", finding.hook)];
    lines.extend(finding.failed.iter().map(|why| format!("  not {why}")));
    lines.extend(finding.denied.iter().map(|what| format!("  was denied: {what}")));
    lines.extend(finding.net.iter().map(|origin| format!("  connected to {origin}")));
    lines.iter().map(|line| one_line(line)).collect()
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_a_policy() {
        let finding = |hook: &str, side, level, net: &[&str]| Finding {
            element: "raid".to_owned(),
            hook: hook.to_owned(),
            side,
            level: Some(level),
            net: net.iter().map(|&origin| origin.to_owned()).collect(),
            denied: BTreeSet::from(["mount /x".to_owned()]),
            failed: vec!["strict: it failed".to_owned()],
        };
        let findings = [
            finding("root.d/10-a", Side::Outside, Level::Strict, &["https://a.example"]),
            finding("install.d/10-b", Side::Inside, Level::Strict, &[]),
        ];
        let text = policy(&BTreeMap::new(), &findings);
        let parsed = dibw_policy::file::parse("p.yaml", &text, "2026-01-01").expect("a policy");
        let cage = dibw_policy::confinement_of(
            &dibw_policy::Identity::named("raid"),
            dibw_policy::Side::Outside,
            &dibw_policy::Policy::of_site(vec![parsed]).expect("a policy"),
        );
        assert_eq!(
            (cage.level, cage.net.clone()),
            (Level::Strict, Some(vec!["https://a.example".to_owned()]))
        );
    }
}
