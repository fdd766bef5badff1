//! One record for each decision.
//!
//! Callers: the host's gate makes them, the engine writes them to `audit.jsonl`.

use serde::Serialize;

use crate::capability::Capability;
use crate::decide::Decision;
use crate::effective::Effective;
use crate::operation::Operation;
use crate::requirement::{Impossible, requirements};
use crate::subject::escape;

/// What was asked, and what was answered. Serialises to one JSON object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Record {
    /// The element that asked.
    pub element: String,
    /// The phase it asked in.
    pub phase: String,
    /// The first capability that the operation needs.
    pub capability: String,
    /// What for; escaped.
    pub subject: String,
    /// `allow`, `would-deny`, `deny` or `malformed`.
    pub decision: &'static str,
    /// The rule that decided.
    pub rule: String,
}

impl Record {
    /// The record of a decision.
    pub fn new(effective: &Effective, phase: &str, operation: &Operation, decision: &Decision) -> Self {
        let (capability, subject) = described(operation);
        let (word, rule) = match decision {
            Decision::Allow { rule } => ("allow", rule.clone()),
            Decision::WouldDeny(denial) => ("would-deny", denial.rule.clone()),
            Decision::Deny(denial) => ("deny", denial.rule.clone()),
            Decision::Malformed { message } => ("malformed", message.clone()),
        };
        let element = effective.element().to_owned();
        let capability = capability.map_or_else(|| "-".to_owned(), |c| c.to_string());
        Record { element, phase: phase.to_owned(), capability, subject, decision: word, rule }
    }
}

fn described(operation: &Operation) -> (Option<Capability>, String) {
    match requirements(operation) {
        Ok(needed) => match needed.first() {
            Some(first) => (Some(first.capability), escape(&first.words.join(" "))),
            None => (None, String::new()),
        },
        Err(Impossible::Never { capability, subject, .. }) => (Some(capability), escape(&subject)),
        Err(Impossible::Malformed(_)) => (None, escape(&format!("{operation:?}"))),
    }
}
