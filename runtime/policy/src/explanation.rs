//! Why an operation is allowed or not: the answer of every gate, for every right that it needs. What is decided is read off this.
//!
//! Callers: [`crate::decide()`], `dibw policy explain`, `dibw policy test`.

use crate::capability::Capability;
use crate::decide::{Decision, Denial};
use crate::fix::Fix;
use crate::policy::{Mode, Rule};
use crate::subject::escape;

/// What must be passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gate {
    /// The element's manifest asks for it.
    Needs,
    /// The risk is not above what the built-in policy grants.
    Risk,
    /// A policy file grants it, or the command line does.
    Grant,
    /// A policy file's ceiling reaches it.
    Ceiling,
    /// No policy file refuses it whatever is granted.
    Never,
}

/// The answer of one gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whose answer.
    pub gate: Gate,
    /// Yes or no.
    pub passed: bool,
    /// Why, in a sentence.
    pub reason: String,
    /// The rule, where one in a file made the difference.
    pub place: Option<Place>,
    /// What would turn a no into a yes.
    pub fixes: Vec<Fix>,
}

/// A place in a policy file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The rule's place, as in `ceiling.target.write[0]`; none when it is not one rule.
    pub key: Option<String>,
}

/// How one right that an operation needs fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The right.
    pub capability: Capability,
    /// What it is wanted for.
    pub subject: String,
    /// The narrowest value of a need that covers it.
    pub value: String,
    /// Of all gates, in order.
    pub answers: Vec<Answer>,
}

/// All that is to be said about an operation of an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Explanation {
    /// It makes no sense.
    Malformed {
        /// Why.
        message: String,
    },
    /// No policy can allow it.
    Impossible {
        /// The right that it would need.
        capability: Capability,
        /// What for.
        subject: String,
        /// Why.
        rule: String,
    },
    /// It was judged.
    Judged {
        /// One verdict for each right it needs.
        verdicts: Vec<Verdict>,
        /// What refusals of policy files do.
        mode: Mode,
    },
}

impl Gate {
    /// The word for messages and the ids of rules.
    pub const fn name(self) -> &'static str {
        match self {
            Gate::Needs => "needs",
            Gate::Risk => "risk",
            Gate::Grant => "grant",
            Gate::Ceiling => "ceiling",
            Gate::Never => "never",
        }
    }

    /// Whether `mode: audit` lets through what this gate refuses.
    pub(crate) fn belongs_to_the_file(self) -> bool {
        match self {
            Gate::Needs | Gate::Risk | Gate::Never => false,
            Gate::Grant | Gate::Ceiling => true,
        }
    }
}

impl Place {
    /// A line.
    pub(crate) fn line(file: &str, line: usize) -> Self {
        Place { file: file.to_owned(), line, key: None }
    }
}

impl Answer {
    pub(crate) fn yes(gate: Gate, reason: String, place: Option<Place>) -> Self {
        Answer { gate, passed: true, reason, place, fixes: Vec::new() }
    }

    pub(crate) fn by_rule(gate: Gate, reason: String, rule: &Rule) -> Self {
        let place = Place { file: rule.file.clone(), line: rule.line, key: Some(rule.key.clone()) };
        Answer::yes(gate, reason, Some(place))
    }

    pub(crate) fn no(gate: Gate, reason: String, place: Option<Place>, fixes: Vec<Fix>) -> Self {
        Answer { gate, passed: false, reason, place, fixes }
    }
}

impl Verdict {
    /// The gates that refuse.
    pub fn refusals(&self) -> impl Iterator<Item = &Answer> {
        self.answers.iter().filter(|answer| !answer.passed)
    }

    /// The ids of what refuses, as `dibw policy test` expects them: `CAPABILITY.GATE`; where a download leads is `net.fetch.resolved-ip`.
    fn rule_ids(&self) -> impl Iterator<Item = String> {
        self.refusals().map(|answer| rule_id(self.capability, answer.gate.name()))
    }
}

fn rule_id(capability: Capability, gate: &str) -> String {
    match capability {
        Capability::NetAddress => "net.fetch.resolved-ip".to_owned(),
        other => format!("{other}.{gate}"),
    }
}

impl Explanation {
    /// What is decided.
    pub fn decision(&self) -> Decision {
        let (verdicts, mode) = match self {
            Explanation::Malformed { message } => return Decision::Malformed { message: message.clone() },
            Explanation::Impossible { capability, subject, rule } => {
                return Decision::Deny(Denial {
                    capability: *capability,
                    subject: escape(subject),
                    rule: rule.clone(),
                    hint: String::new(),
                });
            }
            Explanation::Judged { verdicts, mode } => (verdicts, mode),
        };
        let refused = || verdicts.iter().filter(|verdict| verdict.refusals().next().is_some());
        let Some(first) = refused().next() else {
            let rules: Vec<String> = verdicts.iter().map(Verdict::rule).collect();
            return Decision::Allow { rule: rules.join("; ") };
        };
        let refusals: Vec<&Answer> = refused().flat_map(Verdict::refusals).collect();
        let denial = Denial::of_answers(first.capability, &first.subject, &refusals);
        match mode {
            Mode::Audit if refusals.iter().all(|a| a.gate.belongs_to_the_file()) => {
                Decision::WouldDeny(denial)
            }
            Mode::Audit | Mode::Enforce => Decision::Deny(denial),
        }
    }

    /// The ids of all that refuses; empty when nothing does.
    pub fn rule_ids(&self) -> Vec<String> {
        match self {
            Explanation::Malformed { .. } => vec!["malformed".to_owned()],
            Explanation::Impossible { capability, .. } => vec![rule_id(*capability, "impossible")],
            Explanation::Judged { verdicts, .. } => verdicts.iter().flat_map(Verdict::rule_ids).collect(),
        }
    }

    /// The rules of policy files that spoke for it.
    pub fn places(&self) -> impl Iterator<Item = &Place> {
        let verdicts = match self {
            Explanation::Malformed { .. } | Explanation::Impossible { .. } => &[],
            Explanation::Judged { verdicts, .. } => verdicts.as_slice(),
        };
        verdicts.iter().flat_map(|verdict| &verdict.answers).filter_map(|answer| answer.place.as_ref())
    }

    /// Everything to change so that it is allowed, one fix for each place; nothing when that would not be enough.
    pub fn fixes(&self) -> Vec<Fix> {
        match self {
            Explanation::Malformed { .. } | Explanation::Impossible { .. } => Vec::new(),
            Explanation::Judged { verdicts, .. } => {
                crate::fix::of_answers(verdicts.iter().flat_map(Verdict::refusals))
            }
        }
    }
}

impl Verdict {
    /// The need and the grants that allow it, in one line.
    fn rule(&self) -> String {
        let spoke = self.answers.iter().filter(|answer| answer.gate != Gate::Ceiling);
        spoke.map(|answer| answer.reason.as_str()).collect::<Vec<_>>().join("; ")
    }
}
