//! A plan for people (`to_text`) and for machines (`to_json`). Called by the command line and the engine; decides nothing.

mod disk;
mod table;

use crate::digest::digest;
use crate::output::OutputType;
use crate::packages::Intent;
use crate::phase::{Phase, Side};
use crate::plan::{Action, Confinement, Extra, Plan, Step};

/// Longest line of capabilities and elements, in characters.
const WRAP: usize = 60;

/// The digest of the policy without files.
const BUILT_IN: &str = "built-in";

/// JSON, indented, with a line end.
pub fn to_json(plan: &Plan) -> String {
    let mut text = serde_json::to_string_pretty(plan).expect("a plan has only text keys and finite numbers");
    text.push('\n');
    text
}

/// What a step does, in a word or the name of its hook.
pub fn title(step: &Step) -> String {
    let element = step.element.as_deref().unwrap_or_default();
    match &step.action {
        Action::Environment { .. } => "environment".to_owned(),
        Action::Script { name } => name.clone(),
        Action::Hook => format!("{}-{element}", step.order),
        Action::Packages { .. } => "packages".to_owned(),
        Action::PrepareTarget => "prepare-target".to_owned(),
        Action::InstallBin => "install-bin".to_owned(),
        Action::InstallStatic => "install-static".to_owned(),
        Action::InstallServiceMap { .. } => "service-map".to_owned(),
        Action::CleanTarget => "clean-target".to_owned(),
        Action::ReportUsage { .. } => "report-usage".to_owned(),
        Action::CreateDisk => "create-disk".to_owned(),
        Action::FinishDisk => "finish-disk".to_owned(),
        Action::PackageManifest => "package-manifest".to_owned(),
        Action::Output { kind } => format!("output-{}", kind.name()),
    }
}

/// A header (elements, outputs, disk) and a table of the steps.
pub fn to_text(plan: &Plan) -> String {
    let mut text = header(plan);
    text.push('\n');
    let headings =
        ["PHASE", "ORDER", "ELEMENT", "STEP", "KIND", "WHERE", "CONFINEMENT", "EXTRAS", "CAPABILITIES"];
    let rows: Vec<Vec<String>> = plan.steps.iter().map(row).collect();
    text.push_str(&table::aligned(&headings, &rows, WRAP));
    text
}

fn header(plan: &Plan) -> String {
    let outputs: Vec<String> =
        plan.types.iter().map(|kind: &OutputType| format!("{}.{}", plan.output, kind.suffix())).collect();
    let elements: Vec<&str> = plan.elements.iter().map(|element| element.name.as_str()).collect();
    let mut lines = vec![
        ("plan", digest(plan)),
        ("arch", plan.arch.clone()),
        ("output", outputs.join(" ")),
        ("elements", elements.join(" ")),
    ];
    if plan.rules.digest != BUILT_IN {
        lines.push(("policy", format!("{} (sha256 {})", plan.rules.policy, plan.rules.digest)));
    }
    if plan.offline {
        lines.push(("network", "none (offline)".to_owned()));
    }
    if let Some(disk) = &plan.disk {
        lines.push(("disk", disk::summary(disk)));
    }
    let mut text = String::new();
    for (label, value) in lines {
        for (index, line) in table::wrapped(&value, 2 * WRAP).iter().enumerate() {
            let label = if index == 0 { label } else { "" };
            text.push_str(format!("{label:<10}{line}").trim_end());
            text.push('\n');
        }
    }
    if let Some(disk) = &plan.disk {
        text.push_str(&disk::drawing(disk));
    }
    text
}

fn row(step: &Step) -> Vec<String> {
    let extras: Vec<&str> = step
        .extras
        .iter()
        .map(|extra| match extra {
            Extra::Network => "network",
            Extra::Proxy => "proxy",
            Extra::ImageDevices => "image-devices",
        })
        .collect();
    vec![
        step.phase.map_or("", Phase::name).to_owned(),
        step.order.clone(),
        step.element.clone().unwrap_or_default(),
        title(step),
        kind(step).to_owned(),
        place(step).to_owned(),
        confinement(step.confinement).to_owned(),
        extras.join(" "),
        details(step),
    ]
}

fn kind(step: &Step) -> &'static str {
    match step.action {
        Action::Script { .. } | Action::Environment { .. } => "shell",
        Action::Hook => "wasm",
        Action::Packages { .. }
        | Action::PrepareTarget
        | Action::InstallBin
        | Action::InstallStatic
        | Action::InstallServiceMap { .. }
        | Action::CleanTarget
        | Action::ReportUsage { .. }
        | Action::CreateDisk
        | Action::FinishDisk
        | Action::PackageManifest
        | Action::Output { .. } => "runtime",
    }
}

fn place(step: &Step) -> &'static str {
    match (&step.action, step.phase.map(Phase::side)) {
        (Action::Script { .. } | Action::Environment { .. }, Some(Side::Outside)) => "outside",
        (Action::Script { .. } | Action::Environment { .. }, _)
        | (Action::Packages { .. } | Action::PackageManifest, _) => "inside",
        (
            Action::Hook
            | Action::PrepareTarget
            | Action::InstallBin
            | Action::InstallStatic
            | Action::InstallServiceMap { .. }
            | Action::CleanTarget
            | Action::ReportUsage { .. }
            | Action::CreateDisk
            | Action::FinishDisk
            | Action::Output { .. },
            _,
        ) => "runtime",
    }
}

/// The word for it.
pub fn confinement(confinement: Confinement) -> &'static str {
    match confinement {
        Confinement::Wasm => "wasm",
        Confinement::Strict => "strict",
        Confinement::Confined => "confined",
        Confinement::Host => "host",
        Confinement::Runtime => "-",
    }
}

/// The capabilities of a hook; of the other steps, what they are about. `?` marks a package that depends on variables.
fn details(step: &Step) -> String {
    match &step.action {
        Action::Environment { files } => match files.as_slice() {
            [file] => file.clone(),
            files => format!("{} files", files.len()),
        },
        Action::Packages { requests } => {
            let named = requests.iter().filter_map(|request| {
                let sign = match request.intent {
                    Intent::Install => "+",
                    Intent::Remove => "-",
                    Intent::Keep => return None,
                };
                let doubt = if request.when.is_empty() { "" } else { "?" };
                Some(format!("{sign}{}{doubt}", request.package))
            });
            named.collect::<Vec<_>>().join(" ")
        }
        Action::Script { .. } => {
            let rule = if step.rule.is_empty() { String::new() } else { format!(" ({})", step.rule) };
            format!("{}{rule}", step.capabilities.join(", "))
        }
        Action::Hook
        | Action::PrepareTarget
        | Action::InstallBin
        | Action::InstallStatic
        | Action::InstallServiceMap { .. }
        | Action::CleanTarget
        | Action::ReportUsage { .. }
        | Action::CreateDisk
        | Action::FinishDisk
        | Action::PackageManifest
        | Action::Output { .. } => step.capabilities.join(", "),
    }
}
