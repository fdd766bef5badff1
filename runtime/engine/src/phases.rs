//! A phase: its steps in the order of their names, the hooks that earlier hooks added to the tree among them, its variables, break
//! points and, for the classic commands, what their runner says. Facts: compat/CONTRACT.md sections 1.3, 1.4 and 1.7.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Context;
use dibw_plan::{Action, Confinement, Extra, Phase, Side, Step, order};

use crate::break_points::Moment;
use crate::events::Event;
use crate::failure::Failure;
use crate::run::Build;

impl<'a> Build<'a> {
    /// Runs a phase with the steps that were planned for it.
    pub(crate) fn phase(&mut self, phase: Phase, planned: &'a [Step]) -> Result<(), Failure> {
        let steps = self.steps_of(phase, planned)?;
        if phase == Phase::BlockDevice && !steps.is_empty() {
            self.settle_image_size()?;
        }
        self.enter_phase(phase);
        let side = phase.side();
        if side == Side::Outside || !steps.is_empty() {
            self.break_at(Moment::Before, phase)?;
        }
        let mut times = Vec::new();
        for step in &steps {
            let began = Instant::now();
            if let Err(failure) = self.numbered(step) {
                self.break_after_error(phase)?;
                return Err(failure);
            }
            if self.stopped {
                return Ok(());
            }
            if let Action::Script { name } = &step.action {
                times.push((name.clone(), began.elapsed()));
            }
        }
        self.tell_profile(&times);
        if side == Side::Outside || !steps.is_empty() {
            self.break_at(Moment::After, phase)?;
        }
        Ok(())
    }

    /// The planned steps, without scripts that are gone from the hooks tree and with those that have come: earlier hooks may change it.
    fn steps_of(&self, phase: Phase, planned: &'a [Step]) -> Result<Vec<Cow<'a, Step>>, Failure> {
        let there = self.scripts_in_tree(phase)?;
        let is_planned = |name: &String| {
            planned.iter().any(|step| matches!(&step.action, Action::Script { name: known } if known == name))
        };
        let mut steps: Vec<Cow<'a, Step>> = planned
            .iter()
            .filter(|step| !matches!(&step.action, Action::Script { name } if !there.contains(name)))
            .map(Cow::Borrowed)
            .collect();
        for name in there.iter().filter(|name| !is_planned(name)) {
            // Hooks whose work the runtime does itself are in the tree, but in no plan.
            let Some(step) = self.step_of_script(phase, name) else { continue };
            let comes_later = |other: &Cow<'_, Step>| match &other.action {
                Action::Environment { .. } => false,
                _ => other.hook_name().is_none_or(|known| order::compare(name, &known).is_lt()),
            };
            let at = steps.iter().position(comes_later).unwrap_or(steps.len());
            steps.insert(at, Cow::Owned(step));
        }
        let files = self.environment_files()?;
        let has_environment = steps.iter().any(|step| matches!(step.action, Action::Environment { .. }));
        if !steps.is_empty() && !has_environment && !files.is_empty() {
            steps.insert(0, Cow::Owned(Step::environment(phase, files)));
        }
        // Variables alone do nothing.
        if steps.iter().all(|step| matches!(step.action, Action::Environment { .. })) {
            steps.clear();
        }
        Ok(steps)
    }

    /// Names of the scripts that the hooks tree has for a phase now.
    fn scripts_in_tree(&self, phase: Phase) -> Result<BTreeSet<String>, Failure> {
        let directory = self.hooks.join(format!("{phase}.d"));
        let mut names = BTreeSet::new();
        if !directory.is_dir() {
            return Ok(names);
        }
        let pattern = self.base_variables.get("RUN_PARTS_REGEX").filter(|pattern| !pattern.is_empty());
        let pattern = pattern.map(|text| regex::Regex::new(text)).transpose();
        let pattern = pattern.context("RUN_PARTS_REGEX")?;
        for name in crate::hooks_tree::names(&directory)? {
            let selected = match &pattern {
                Some(pattern) => pattern.is_match(&name),
                None => order::is_hook_name(&name),
            };
            if selected && crate::hooks_tree::is_program(&directory.join(&name)) {
                names.insert(name);
            }
        }
        Ok(names)
    }

    /// Names of the files that `environment.d` of the hooks tree has now, in order.
    pub(crate) fn environment_files(&self) -> Result<Vec<String>, Failure> {
        let directory = self.hooks.join("environment.d");
        if !directory.is_dir() {
            return Ok(Vec::new());
        }
        let mut names = crate::hooks_tree::names(&directory)?;
        names.retain(|name| order::is_environment_name(name) && directory.join(name).is_file());
        Ok(names)
    }

    /// The step for a script that no plan knew: whose it is, and caged as hooks are without a rule of their own.
    fn step_of_script(&self, phase: Phase, name: &str) -> Option<Step> {
        let element = self.owners.of(&self.hooks, &self.hooks.join(format!("{phase}.d")).join(name));
        if element.as_deref().is_some_and(dibw_plan::resolve::hooks_are_native) {
            return None;
        }
        let cages = self.plan.rules.cages(element.as_deref())?;
        let cage = cages.of(phase.side());
        Some(Step {
            phase: Some(phase),
            order: order::number_text(name).to_owned(),
            element,
            action: Action::Script { name: name.to_owned() },
            // One that may not run is refused when its turn comes.
            confinement: Confinement::of_level(cage.level).unwrap_or(Confinement::Strict),
            extras: Extra::of_shell(phase, cages, !self.plan.offline, self.plan.disk.is_some()),
            capabilities: vec![format!("classic.exec {}", cage.level)],
            rule: cage.why.clone(),
        })
    }

    /// The classic runner's table of what took how long.
    fn tell_profile(&self, times: &[(String, Duration)]) {
        if !self.plan.classic || times.is_empty() {
            return;
        }
        let mut lines = vec![
            format!("{:-^22} PROFILING {:-^22}", "", ""),
            String::new(),
            format!("{:<40} {:>10}", "Script", "Seconds"),
            "-".repeat(52),
        ];
        let mut times = times.to_vec();
        times.sort();
        lines.extend(times.iter().map(|(name, took)| format!("{name:<40} {:>10.3}", took.as_secs_f64())));
        lines.push("-".repeat(52));
        for line in lines {
            self.tell(Event::Output { line });
        }
    }
}
