//! Finding the layer of an earlier build, and putting it, with what its step left, in the place of the step.

use std::time::Duration;

use anyhow::{Context, Result};
use dibw_plan::{Action, Phase, Side, Step};

use super::inputs::Inputs;
use super::store::{self, Held};
use super::{Left, WORK, moved, outputs, step_title};
use crate::events::{Cached, Level};
use crate::failure::Failure;
use crate::run::Build;

/// Seconds for which an index of packages is taken to be that of the mirror.
const INDEX_GOOD: u64 = 3600;

/// Seconds that a hook takes when it is observed whatever its phase.
const WORTH: f64 = 1.0;

/// Hooks of the install phase from this number on come after most that can change. Numbers have two digits.
const LATE: &str = "90";

/// How a layer fits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// It was made on the very layers below it.
    Exact,
    /// What it was made from is the same, as far as it was looked at.
    ByReads,
}

impl Build<'_> {
    /// A layer for these inputs, or why there is none.
    pub(super) fn look_up(
        &mut self,
        title: &str,
        inputs: &Inputs,
        key: &str,
    ) -> Result<Result<Held, String>> {
        let (refresh, offline) = (self.plan.refresh, self.plan.offline);
        let Some(layers) = &mut self.layers else { return Ok(Err(String::new())) };
        if let Some(broken) = &layers.broken {
            return Ok(Err(broken.clone()));
        }
        if refresh {
            return Ok(Err("--refresh".to_owned()));
        }
        let mut reason = None;
        for held in layers.store.find(key)? {
            let age = Duration::from_secs(store::now().saturating_sub(held.entry.created));
            if held.entry.network && !offline && age > layers.settings.max_age {
                reason.get_or_insert(format!("its layer is {} old", hours(age)));
                continue;
            }
            match layers.store.damage(&held)? {
                None if title == outputs::TITLE || left_by(&held).is_ok() => return Ok(Ok(held)),
                damage => {
                    let what = damage.unwrap_or_else(|| "what the step left is unreadable".to_owned());
                    reason = Some(format!("its layer was damaged: {what}"));
                    layers.store.drop_damaged(held)?;
                }
            }
        }
        Ok(Err(reason.unwrap_or_else(|| layers.reason(title, inputs))))
    }

    /// A layer whose step would read the same again, or the reason that there is none.
    pub(super) fn look_up_by_reads(&mut self, inputs: &Inputs) -> Result<Result<Held, Option<String>>> {
        let (refresh, offline) = (self.plan.refresh, self.plan.offline);
        let Some(layers) = self.layers.as_ref().filter(|layers| layers.broken.is_none() && !refresh) else {
            return Ok(Err(None));
        };
        let mut reason = None;
        for held in layers.store.find(&inputs.loose_key())? {
            let age = Duration::from_secs(store::now().saturating_sub(held.entry.created));
            let expired = held.entry.network && !offline && age > layers.settings.max_age;
            // What can't be read is no layer to use; `dibw cache verify` says so.
            let reads = held.reads().ok().flatten().filter(|_| !expired && left_by(&held).is_ok());
            let Some(reads) = reads else { continue };
            let target = self.machine().target()?;
            if let Some(difference) = reads.first_difference(&target)? {
                reason.get_or_insert(difference.to_string());
            } else if layers.store.damage(&held)?.is_none() {
                return Ok(Ok(held));
            }
        }
        Ok(Err(reason))
    }

    /// Whether it is worth to know what a step reads of the target: it comes after most that can change, or it took long the last time.
    pub(crate) fn observes(&self, step: &Step) -> bool {
        let Some(layers) = self.layers.as_ref().filter(|_| !self.on_disk) else { return false };
        if step.action == Action::Hook {
            return true;
        }
        let Action::Script { name } = &step.action else { return false };
        let late = match step.phase {
            Some(Phase::PostInstall) => true,
            Some(Phase::Install) => name.split_once('-').is_some_and(|(order, _)| order >= LATE),
            _ => false,
        };
        let inside = step.phase.is_some_and(|phase| phase.side() == Side::Inside);
        let long = || layers.known(&step_title(step)).is_some_and(|known| known.took > WORTH);
        inside && (late || long())
    }

    /// Puts a kept layer, and what its step left, in the place of the step.
    pub(super) fn put_in_place(
        &mut self,
        title: &str,
        inputs: Inputs,
        held: Held,
        fit: Fit,
    ) -> Result<Cached, Failure> {
        let left = left_by(&held)?;
        if let Some(tree) = held.tree() {
            let layer = format!("{:03}-{title}", self.done);
            self.machine().stack_layer(&layer, &tree)?;
        }
        if let Some(hooks) = held.hooks() {
            crate::hooks_tree::copy_files(&hooks, &self.hooks, left.hooks_brought.keys())?;
        }
        for gone in &left.hooks_gone {
            crate::hooks_tree::remove_file(&self.hooks, gone)?;
        }
        if !left.hooks_brought.is_empty() || !left.hooks_gone.is_empty() {
            self.look_at_hooks()?;
        }
        let work = self.work_text();
        match fit {
            Fit::Exact => {
                self.base_variables = moved(left.base_variables, WORK, &work);
                self.variables = moved(left.variables, WORK, &work);
                // What the index names is soon gone from mirrors.
                self.index_updated =
                    left.index_updated && store::now().saturating_sub(held.entry.created) < INDEX_GOOD;
                self.index_of = left.index_of;
                self.requested = left.requested;
                self.rehearsed = left.rehearsed;
                *self.kernel.borrow_mut() = left.kernel;
            }
            // What steps before this one left may be another than when the layer was made: only what it adds itself counts.
            Fit::ByReads => {
                let element = &self.current.element;
                let settings = left.kernel.get(element).map(|settings| (element.clone(), settings.clone()));
                self.kernel.borrow_mut().extend(settings);
                self.base_variables.extend(left.set.clone());
                self.variables.extend(left.set);
            }
        }
        for record in left.records {
            self.audit.borrow_mut().add(&record.into())?;
        }
        for (element, text) in left.warnings {
            self.message(Level::Warn, &element, text);
        }
        self.record_reuse(title, &held.entry)?;
        let cached = Cached::Hit { saved: Duration::from_secs_f64(held.entry.took.max(0.0)) };
        let Some(layers) = &mut self.layers else { return Ok(Cached::No) };
        layers.network |= held.entry.network;
        layers.advance(&held.entry.id);
        layers.store.touch(&held);
        layers.note(title, cached.clone(), inputs);
        layers.held.push(held);
        Ok(cached)
    }
}

/// What the step of a layer left beside the target.
fn left_by(held: &Held) -> Result<Left> {
    serde_json::from_value(held.entry.left.clone()).context("what a kept step left")
}

fn hours(age: Duration) -> String {
    let hours = age.as_secs() / 3600;
    match hours {
        0 => format!("{} minutes", age.as_secs() / 60),
        1..48 => format!("{hours} hours"),
        _ => format!("{} days", hours / 24),
    }
}
