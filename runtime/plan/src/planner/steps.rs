//! The ordered steps of a build: the hooks of each phase interleaved with what the runtime does itself, and what lies between and after
//! the phases. Called by `planner::plan` only. Facts: compat/CONTRACT.md sections 1.2, 1.3 and 6.2.

use std::collections::BTreeSet;

use dibw_policy::{Capability, Level, Need};

use super::members::Members;
use crate::element::Element;
use crate::fault::{Fault, FaultKind, Faults};
use crate::order;
use crate::output::OutputType;
use crate::packages::{Intent, PackageRequest, is_removal};
use crate::phase::Phase;
use crate::plan::{Action, Confinement, Extra, Step};
use crate::request::Request;
use crate::resolve::hooks_are_native;
use crate::rules::Rules;

/// What steps are made from.
pub(super) struct Build<'a> {
    pub request: &'a Request,
    pub elements: &'a [&'a Element],
    pub members: &'a Members,
    pub rules: &'a Rules,
    /// Whether there is a disk.
    pub disk: bool,
}

/// All steps, in order.
pub(super) fn all(build: &Build<'_>, types: &BTreeSet<OutputType>, faults: &mut Faults) -> Vec<Step> {
    let mut steps = Vec::new();
    build.check_environment(faults);
    for phase in Phase::ALL {
        match phase {
            Phase::BlockDevice => {
                let least = super::checks::reported_usage(build.request);
                steps.extend(least.map(|least| runtime(Action::ReportUsage { least })));
            }
            Phase::ExtraData => steps.push(runtime(Action::PrepareTarget)),
            Phase::PreFinalise if build.disk => steps.push(runtime(Action::CreateDisk)),
            Phase::Root
            | Phase::PreInstall
            | Phase::Install
            | Phase::PostInstall
            | Phase::PostRoot
            | Phase::PreFinalise
            | Phase::Finalise
            | Phase::Cleanup => {}
        }
        steps.extend(build.phase(phase, faults));
    }
    steps.push(runtime(Action::CleanTarget));
    steps.push(inside(Action::PackageManifest));
    // Archives are made from the tree while it is there; raw comes last because it may take the image file away.
    let output = |kind: &OutputType| runtime(Action::Output { kind: *kind });
    steps.extend(types.iter().filter(|kind| !kind.is_disk()).map(output));
    if build.disk {
        steps.push(runtime(Action::FinishDisk));
    }
    steps.extend(types.iter().rev().filter(|kind| kind.is_disk()).map(output));
    steps
}

/// A step between or after the phases.
fn runtime(action: Action) -> Step {
    Step {
        phase: None,
        order: String::new(),
        element: None,
        action,
        confinement: Confinement::Runtime,
        extras: BTreeSet::new(),
        capabilities: Vec::new(),
        rule: String::new(),
    }
}

/// A step after the phases that runs a program of the target.
fn inside(action: Action) -> Step {
    Step { confinement: Confinement::Strict, ..runtime(action) }
}

impl Build<'_> {
    fn phase(&self, phase: Phase, faults: &mut Faults) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        for element in self.elements {
            steps.extend(self.scripts(phase, element, faults));
            steps.extend(self.typed_hooks(phase, element));
        }
        steps.extend(self.packages(phase));
        steps.extend(self.built_in(phase));
        steps.sort_by(|left, right| {
            let (left, right) = (left.hook_name(), right.hook_name());
            order::compare(&left.unwrap_or_default(), &right.unwrap_or_default())
        });
        steps.extend(self.extra_packages(phase));
        self.environment(phase).filter(|_| !steps.is_empty()).into_iter().chain(steps).collect()
    }

    fn environment(&self, phase: Phase) -> Option<Step> {
        let mut files: Vec<String> =
            self.elements.iter().flat_map(|element| element.environment.iter().cloned()).collect();
        files.sort();
        files.dedup();
        (!files.is_empty()).then(|| Step::environment(phase, files))
    }

    /// `environment.d` is shell too, and runs on both sides.
    fn check_environment(&self, faults: &mut Faults) {
        for element in self.elements.iter().filter(|element| !element.environment.is_empty()) {
            let cages = self.rules.cages(Some(&element.name));
            if let Some(cage) = cages.map(|cages| &cages.outside).filter(|cage| cage.level == Level::Deny) {
                faults.push(denied(element, "environment.d", &cage.why));
            }
        }
    }

    fn scripts(&self, phase: Phase, element: &Element, faults: &mut Faults) -> Vec<Step> {
        let scripts = element.hooks.get(&phase).map(Vec::as_slice).unwrap_or_default();
        if scripts.is_empty() || hooks_are_native(&element.name) {
            return Vec::new();
        }
        let Some(cages) = self.rules.cages(Some(&element.name)) else { return Vec::new() };
        let cage = cages.of(phase.side());
        let Some(confinement) = Confinement::of_level(cage.level) else {
            faults.push(denied(element, &format!("{phase}.d"), &cage.why));
            return Vec::new();
        };
        let step = |name: &String| Step {
            phase: Some(phase),
            order: order::number_text(name).to_owned(),
            element: Some(element.name.clone()),
            action: Action::Script { name: name.clone() },
            confinement,
            extras: Extra::of_shell(phase, cages, !self.request.offline, self.disk),
            capabilities: vec![format!("classic.exec {}", cage.level)],
            rule: cage.why.clone(),
        };
        scripts.iter().map(step).collect()
    }

    fn typed_hooks(&self, phase: Phase, element: &Element) -> Vec<Step> {
        let Some(typed) = &element.typed else { return Vec::new() };
        let planned = self.members.planned.iter().find(|planned| planned.name == element.name);
        let effective = planned.and_then(|planned| planned.component.as_ref()).map(|found| &found.effective);
        let standing = |need: &Need| match effective.and_then(|effective| effective.standing(need)) {
            Some(rules) => format!("{need} ({rules})"),
            None => need.to_string(),
        };
        let hooks = typed.manifest.hooks.iter().filter(|hook| hook.phase == phase.name());
        let step = |order: i64| Step {
            phase: Some(phase),
            order: format!("{order:02}"),
            element: Some(element.name.clone()),
            action: Action::Hook,
            confinement: Confinement::Wasm,
            extras: BTreeSet::new(),
            capabilities: typed.manifest.needs.iter().map(standing).collect(),
            rule: String::new(),
        };
        hooks.map(|hook| step(hook.order)).collect()
    }

    /// The phase's transaction at its beginning, and one at its end when something is to be removed: a package that is only needed to
    /// build may be used by the hooks between. The places are those of the classic `package-installs` hooks.
    fn packages(&self, phase: Phase) -> Vec<Step> {
        let (first, last) = match phase {
            Phase::PreInstall => ("10", "99"),
            Phase::Install => ("01", "99"),
            Phase::PostInstall => ("00", "95"),
            Phase::Root
            | Phase::ExtraData
            | Phase::PostRoot
            | Phase::BlockDevice
            | Phase::PreFinalise
            | Phase::Finalise
            | Phase::Cleanup => return Vec::new(),
        };
        let of_phase = self.members.requests.iter().filter(|request| request.phase == phase).cloned();
        let (installs, removals): (Vec<_>, Vec<_>) =
            of_phase.partition(|request| request.intent == Intent::Install);
        let mut steps = Vec::new();
        if !installs.is_empty() || self.typed_packages(phase) {
            steps.push(self.transaction(phase, first, installs.clone()));
        }
        if !removals.is_empty() {
            steps.push(self.transaction(phase, last, with_keepers(installs, removals)));
        }
        steps
    }

    /// The user's own packages (`-p`), after all hooks of install: they may come from a repository that a hook set up.
    fn extra_packages(&self, phase: Phase) -> Option<Step> {
        let names = self.request.packages.iter().filter(|name| !name.is_empty());
        let requests: Vec<_> = names.map(|name| PackageRequest::install(None, name, phase)).collect();
        (phase == Phase::Install && !requests.is_empty()).then(|| self.transaction(phase, "", requests))
    }

    fn transaction(&self, phase: Phase, number: &str, requests: Vec<PackageRequest>) -> Step {
        let fetches = !self.request.offline && !is_removal(&requests);
        let extras = if fetches { BTreeSet::from([Extra::Network]) } else { BTreeSet::new() };
        Step {
            phase: Some(phase),
            order: number.to_owned(),
            confinement: Confinement::Strict,
            extras,
            ..runtime(Action::Packages { requests })
        }
    }

    /// Whether a component may ask for packages while it runs in that phase.
    fn typed_packages(&self, phase: Phase) -> bool {
        self.elements.iter().filter_map(|element| element.typed.as_ref()).any(|typed| {
            typed.manifest.hook_order(phase).is_some()
                && typed.manifest.needs.iter().any(|need| {
                    matches!(need.capability(), Capability::PackagesInstall | Capability::PackagesRemove)
                })
        })
    }

    /// What the runtime does in place of the elements `install-bin`, `install-static` and `svc-map`, where those did it.
    fn built_in(&self, phase: Phase) -> Option<Step> {
        let merges = |directory: &str| {
            self.elements
                .iter()
                .any(|element| element.merged.iter().any(|entry| entry.starts_with(directory)))
        };
        let (number, action) = match phase {
            Phase::ExtraData if !self.members.services.is_empty() => {
                let maps = self.members.services.clone();
                ("10", Action::InstallServiceMap { maps })
            }
            Phase::PreInstall if merges("bin/") => ("01", Action::InstallBin),
            Phase::Install if merges("static/") => ("10", Action::InstallStatic),
            _ => return None,
        };
        Some(Step { phase: Some(phase), order: number.to_owned(), ..runtime(action) })
    }
}

fn denied(element: &Element, directory: &str, why: &str) -> Fault {
    let message = format!("{}: the shell scripts of its {directory} may not run: {why}", element.name);
    let hint = format!(
        "in the policy, under `classic: allow:` add `- {{element: {}, level: confined}}`",
        element.name
    );
    Fault::new(FaultKind::Policy, message).hint(hint)
}

/// The requests of a removal: who installed a package for its own sake keeps it. A build-only package is both installed and removed by
/// one entry, which must not keep itself.
fn with_keepers(installs: Vec<PackageRequest>, removals: Vec<PackageRequest>) -> Vec<PackageRequest> {
    let keeps = |install: &PackageRequest| {
        let undone = PackageRequest { intent: Intent::Remove, ..install.clone() };
        !removals.contains(&undone)
    };
    let keepers = installs.into_iter().filter(keeps);
    let keepers =
        keepers.map(|install| PackageRequest { intent: Intent::Keep, ..install }).collect::<Vec<_>>();
    keepers.into_iter().chain(removals).collect()
}
