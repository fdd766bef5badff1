//! What caged commands tried and were denied, and the hooks that ran, as audit records.

use dibw_plan::Step;
use dibw_policy::Record;
use dibw_policy::subject::escape;
use dibw_sys::watch::Attempt;

use crate::failure::Failure;
use crate::run::{Build, Current};

/// What cages and hooks are called in records, in the place of a capability.
const SANDBOX: &str = "sandbox";
const HOOK: &str = "classic.exec";

/// The record of an attempt.
pub(crate) fn record(current: &Current, attempt: &Attempt) -> Record {
    let subject = [attempt.what.as_str(), attempt.subject.as_str()].join(" ");
    let times = if attempt.count == 1 { String::new() } else { format!(" ({} times)", attempt.count) };
    of(current, SANDBOX, &format!("{}{times}", escape(subject.trim_end())), "deny")
}

pub(crate) fn of(current: &Current, capability: &str, subject: &str, decision: &'static str) -> Record {
    Record {
        element: current.element.clone(),
        digest: None,
        phase: current.phase.clone(),
        capability: capability.to_owned(),
        subject: escape(subject),
        decision,
        rule: current.rule.clone(),
        mode: dibw_policy::Mode::Enforce,
    }
}

impl Build<'_> {
    /// Records that a script runs, or may not, and by which rule.
    pub(crate) fn record_hook(&self, step: &Step, name: &str, runs: bool) -> Result<(), Failure> {
        let phase = step.phase.map_or("", dibw_plan::Phase::name);
        let decision = if runs { "allow" } else { "deny" };
        Ok(self.audit.borrow_mut().add(&of(&self.current, HOOK, &format!("{phase}.d/{name}"), decision))?)
    }

    /// Records what the commands of the current step were denied.
    pub(crate) fn record_attempts(&self) -> Result<(), Failure> {
        let attempts = self.machine().take_attempts();
        attempts.iter().try_for_each(|attempt| self.record_tried(record(&self.current, attempt)))
    }

    /// Records what a hook did beside what it is; kept for a hook that is being tried.
    pub(crate) fn record_tried(&self, record: Record) -> Result<(), Failure> {
        self.audit.borrow_mut().add(&record)?;
        if self.trials.is_some() {
            self.tried.borrow_mut().push(record);
        }
        Ok(())
    }
}
