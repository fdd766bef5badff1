//! Looking without building: what the cache would say of each step, and a shell in the target as it was at some step.
//! Called by `dibw plan` and `dibw shell`.

use std::cell::RefCell;
use std::rc::Rc;

use anyhow::Context;
use dibw_plan::{FaultKind, Plan, Step};

use super::{LastStep, inputs, step_title, store};
use crate::break_points::Moment;
use crate::events::{Event, Events};
use crate::failure::Failure;
use crate::real::RealMachine;
use crate::run::{Build, Caller, Paths, on_machine};

/// How far a build goes.
#[derive(Debug, Clone, Default)]
pub enum Goal {
    /// To its outputs.
    #[default]
    Outputs,
    /// To the first step that would run.
    FirstRun,
    /// To a step, and then a shell is opened.
    Shell(Stop),
}

/// Where a shell is opened, and what runs in it.
#[derive(Debug, Clone)]
pub struct Stop {
    /// Which step.
    pub at: At,
    /// A command line for bash; none for an interactive shell.
    pub command: Option<String>,
}

/// A point of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// Before this step: its number, name, or phase and name.
    Before(String),
    /// After it.
    After(String),
    /// In what the step left that failed in the last build of the image.
    Failed,
}

/// Nobody listens.
struct Silent;

impl Events for Silent {
    fn tell(&self, _: Event) {}
}

/// What the cache would say of each step of `plan`, to the first that would run.
///
/// # Errors
/// When the cache can't be read.
pub fn forecast(plan: &Plan, paths: &Paths, caller: &Caller) -> Result<Vec<LastStep>, Failure> {
    let machine = RealMachine::new(paths, plan.classic, &plan.rules.resources)
        .context("preparing the work directory")?;
    on_machine(plan, paths, caller, Rc::new(RefCell::new(machine)), Rc::new(Silent), |mut build| {
        build.goal = Goal::FirstRun;
        build.all_steps()?;
        Ok(build.layers.map(|layers| layers.now.steps).unwrap_or_default())
    })
}

/// Opens a shell in the target of `plan` at a step. Steps before it whose layers are gone are done again.
///
/// # Errors
/// When there is no such step, one before it fails, or the command in the shell does.
pub fn shell(
    plan: &Plan,
    paths: &Paths,
    caller: &Caller,
    stop: Stop,
    events: Rc<dyn Events>,
) -> Result<(), Failure> {
    let machine = RealMachine::new(paths, plan.classic, &plan.rules.resources)
        .context("preparing the work directory")?;
    on_machine(plan, paths, caller, Rc::new(RefCell::new(machine)), events, |mut build| {
        build.goal = Goal::Shell(stop.clone());
        let outcome = build.all_steps();
        build.finish_layers();
        outcome?;
        match (build.stopped, &stop.at) {
            (true, _) => Ok(()),
            (false, At::Failed) => {
                Err(no_step("the last build of this image left no failed step".to_owned()))
            }
            (false, At::Before(step) | At::After(step)) => Err(no_step(format!(
                "no step {step} before the disk is made"
            ))
            .hint("`dibw plan` lists the steps; a step is named by its number, its name, or `phase: name`")),
        }
    })
}

fn no_step(message: String) -> Failure {
    Failure { kind: FaultKind::Usage, ..Failure::new(message) }
}

impl Build<'_> {
    /// Whether the build goes no further than to the first step that runs.
    pub(super) fn only_looks(&self) -> bool {
        matches!(self.goal, Goal::FirstRun)
    }

    /// Opens the shell that was asked for before or after this step, and ends there.
    pub(crate) fn stop_at(&mut self, moment: Moment, step: &Step) -> Result<(), Failure> {
        let Goal::Shell(stop) = &self.goal else { return Ok(()) };
        let stop = stop.clone();
        let title = step_title(step);
        let is_meant = |wanted: &str| {
            let name = dibw_plan::render::title(step);
            let script = step.phase.map(|phase| format!("{phase}.d/{name}"));
            wanted == self.done.to_string()
                || wanted == title
                || wanted == name
                || Some(wanted) == script.as_deref()
        };
        match (&stop.at, moment) {
            (At::Before(wanted), Moment::Before) | (At::After(wanted), Moment::After) if is_meant(wanted) => {
            }
            (At::Failed, Moment::Before) => {
                let Some(held) = self.failed_layer(&title)? else { return Ok(()) };
                if let Some(tree) = held.tree() {
                    self.machine().stack_layer("failed", &tree)?;
                }
                self.hold(held);
            }
            (At::Before(_) | At::After(_) | At::Failed, Moment::Before | Moment::After) => return Ok(()),
        }
        self.stopped = true;
        self.look_around(step, stop.command.as_deref())
    }

    /// What the step left that failed last, if it is this one.
    fn failed_layer(&self, title: &str) -> Result<Option<store::Held>, Failure> {
        let Some(layers) = &self.layers else { return Ok(None) };
        let newest = layers.store.find(&self.failed_key())?.into_iter().next();
        Ok(newest.filter(|held| held.entry.title == title))
    }

    /// Keeps what a step left that failed.
    pub(crate) fn keep_failed(&mut self, step: &Step) {
        if self.layers.is_none()
            || self.on_disk
            || self.secrets_in_target.get()
            || self.machine().interrupted()
        {
            return;
        }
        let ended = self.machine().end_layer();
        let kept = ended.and_then(|upper| {
            let (key, image) =
                (self.failed_key(), self.start_dir.join(&self.plan.output).display().to_string());
            let Some(layers) = &mut self.layers else { return Ok(()) };
            let new = layers.store.begin()?;
            let entry = store::Entry {
                id: new.id.clone(),
                key,
                loose_key: None,
                title: step_title(step),
                image,
                created: store::now(),
                took: 0.0,
                network: false,
                tree: None,
                bytes: 0,
                left: serde_json::Value::Null,
            };
            layers.saver.save(new, entry, upper, None);
            Ok(())
        });
        if let Err(error) = kept {
            tracing::debug!("what the failed step left is not kept: {error:#}");
        }
    }

    fn failed_key(&self) -> String {
        inputs::digest(format!("failed {}", self.start_dir.join(&self.plan.output).display()).as_bytes())
    }
}
