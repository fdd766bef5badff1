//! `dibw policy test`: files that say what a policy must allow and refuse, and whether it does. No element and no build is needed: an
//! element of a test declares what it is asked for, unless the test lists its needs.
//!
//! What is looked at is the gates, not the mode: what a policy in audit mode would refuse is refused here.
//! Must not know: files (recordings come through a function). Callers: `dibw policy test`.

mod read;

use std::collections::BTreeSet;

use crate::audit::{Summary, verify};
use crate::confinement::{Level, Side, confinement_of};
use crate::decide::Decision;
use crate::effective::Effective;
use crate::explanation::{Explanation, Place};
use crate::identity::Identity;
use crate::need::Need;
use crate::policy::Policy;
use crate::question::Question;
use crate::trust::{Admission, admit};

pub use read::parse;

/// A file of tests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrialFile {
    /// Policy files that make the base, relative to this one; none: those beside it.
    pub policy: Vec<String>,
    /// A file that narrows the base, as `--policy` does.
    pub narrowed_by: Option<String>,
    /// The tests.
    pub trials: Vec<Trial>,
}

/// One test.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// What it shows.
    pub name: String,
    /// Line in the file, from 1.
    pub line: usize,
    /// What is asked.
    pub case: Case,
    /// What must come out.
    pub expect: Expectation,
}

/// What a test asks.
#[derive(Clone, Debug, PartialEq)]
pub enum Case {
    /// One question of a typed element.
    Ask {
        /// Who asks.
        identity: Identity,
        /// What it declares; none: what it asks for.
        needs: Option<Vec<Need>>,
        /// What it asks for.
        question: Question,
    },
    /// Whether a typed element may take part.
    Admit {
        /// Who.
        identity: Identity,
    },
    /// The cage of a classic element's hooks.
    Classic {
        /// Who.
        identity: Identity,
        /// On which side.
        side: Side,
    },
    /// All questions of a recorded build.
    Replay {
        /// The audit log, relative to the file of tests.
        log: String,
    },
}

/// What must come out of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// It is allowed.
    Allow,
    /// It is refused; with an id, by that rule.
    Deny(Option<String>),
    /// A recording has so many refusals.
    Denials(usize),
    /// Hooks are caged so.
    Level(Level),
}

/// How a test went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whether what came out is what was expected.
    pub passed: bool,
    /// What to say of it; empty when nothing.
    pub note: String,
}

/// Runs tests and remembers which rules of the policy made a difference.
pub struct Run<'a> {
    policy: &'a Policy,
    used: BTreeSet<Place>,
}

impl<'a> Run<'a> {
    /// Tests of a policy.
    pub fn new(policy: &'a Policy) -> Self {
        Run { policy, used: BTreeSet::new() }
    }

    /// Runs one test. `recording` gives the text of a log by the name that the test calls it.
    pub fn trial(&mut self, trial: &Trial, recording: &dyn Fn(&str) -> Result<String, String>) -> Outcome {
        let (found, note) = match &trial.case {
            Case::Ask { identity, needs, question } => match self.ask(identity, needs.as_deref(), question) {
                Ok(explanation) => answer(&explanation),
                Err(wrong) => return failed(wrong),
            },
            Case::Admit { identity } => match admit(identity, self.policy) {
                Admission::Admitted { rule } => (Found::Allowed, rule),
                Admission::Refused { rule, .. } => (Found::Refused(vec!["trust".to_owned()]), rule),
            },
            Case::Classic { identity, side } => {
                let cage = confinement_of(identity, *side, self.policy);
                (Found::Caged(cage.level), cage.why)
            }
            Case::Replay { log } => {
                let text =
                    recording(log).and_then(|text| verify(&text).map_err(|fault| format!("{log}: {fault}")));
                match text.and_then(|summary| self.replay(&summary)) {
                    Ok((counted, note)) => (counted, note),
                    Err(wrong) => return failed(wrong),
                }
            }
        };
        judged(&trial.expect, &found, note)
    }

    fn ask(
        &mut self,
        identity: &Identity,
        needs: Option<&[Need]>,
        question: &Question,
    ) -> Result<Explanation, String> {
        let declared = match needs {
            Some(needs) => needs.to_vec(),
            None => question.needs()?,
        };
        let explanation = question.ask(&Effective::new(identity, &declared, self.policy, &[]))?;
        self.used.extend(explanation.places().cloned());
        Ok(explanation)
    }

    /// Asks everything again. What made no sense then, or cannot be read back, is said, not passed over.
    fn replay(&mut self, summary: &Summary) -> Result<(Found, String), String> {
        let (mut asked, mut passed_over) = (0, 0);
        let mut refused: Vec<String> = Vec::new();
        for line in &summary.lines {
            let Some(question) = Question::of_record(&line.cap, &line.subject) else {
                passed_over += 1;
                continue;
            };
            let digest = Some(line.digest.clone()).filter(|digest| !digest.is_empty());
            let identity = Identity { digest, ..Identity::named(&line.element) };
            asked += 1;
            let explanation = self.ask(&identity, None, &question)?;
            if !explanation.rule_ids().is_empty() {
                refused.push(format!("{} {} {}", line.element, line.cap, line.subject));
            }
        }
        let mut note = format!("{asked} decisions, {} denials", refused.len());
        if passed_over > 0 {
            note.push_str(&format!(", {passed_over} records that cannot be asked again"));
        }
        if let Some(first) = refused.first() {
            note.push_str(&format!("; first: {first}"));
        }
        Ok((Found::Denials(refused.len()), note))
    }

    /// Every rule of the policy with whether a test made use of it.
    pub fn coverage(&self) -> Coverage {
        let mut coverage = Coverage::default();
        let used: BTreeSet<(&str, &str)> =
            self.used.iter().filter_map(|place| Some((place.file.as_str(), place.key.as_deref()?))).collect();
        for file in self.policy.files() {
            let granted = file.grants.iter().flat_map(|grant| &grant.allow);
            let ceiling = file.ceiling.iter().filter_map(|ceiling| ceiling.rules.as_ref()).flatten();
            for rule in granted.chain(ceiling) {
                coverage.rules += 1;
                if !used.contains(&(file.file.as_str(), rule.key.as_str())) {
                    coverage.unused.push(rule.key.clone());
                }
            }
        }
        coverage
    }
}

/// Which rules tests exercised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Rules of grants and ceilings.
    pub rules: usize,
    /// Those that no test made use of.
    pub unused: Vec<String>,
}

enum Found {
    Allowed,
    /// By rules with these ids.
    Refused(Vec<String>),
    Caged(Level),
    Denials(usize),
}

fn answer(explanation: &Explanation) -> (Found, String) {
    let ids = explanation.rule_ids();
    let rule = match explanation.decision() {
        Decision::Allow { rule } => rule,
        Decision::WouldDeny(denial) | Decision::Deny(denial) => denial.rule,
        Decision::Malformed { message } => message,
    };
    if ids.is_empty() { (Found::Allowed, rule) } else { (Found::Refused(ids), rule) }
}

fn judged(expect: &Expectation, found: &Found, note: String) -> Outcome {
    let passed = match (expect, found) {
        (Expectation::Allow, Found::Allowed) | (Expectation::Deny(None), Found::Refused(_)) => true,
        (Expectation::Deny(Some(id)), Found::Refused(ids)) => ids.contains(id),
        (Expectation::Denials(expected), Found::Denials(count)) => expected == count,
        (Expectation::Level(expected), Found::Caged(level)) => expected == level,
        (Expectation::Allow, Found::Refused(_) | Found::Caged(_) | Found::Denials(_))
        | (Expectation::Deny(_), Found::Allowed | Found::Caged(_) | Found::Denials(_))
        | (Expectation::Denials(_), Found::Allowed | Found::Refused(_) | Found::Caged(_))
        | (Expectation::Level(_), Found::Allowed | Found::Refused(_) | Found::Denials(_)) => false,
    };
    if passed {
        let counted = matches!(found, Found::Denials(_));
        return Outcome { passed, note: if counted { note } else { String::new() } };
    }
    let got = match found {
        Found::Allowed => "allow".to_owned(),
        Found::Refused(ids) => format!("deny {}", ids.join(", ")),
        Found::Caged(level) => format!("level {level}"),
        Found::Denials(count) => format!("{count} denials"),
    };
    Outcome { passed, note: format!("expected {expect}, got {got} ({note})") }
}

fn failed(note: String) -> Outcome {
    Outcome { passed: false, note }
}

impl std::fmt::Display for Expectation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Expectation::Allow => f.write_str("allow"),
            Expectation::Deny(None) => f.write_str("deny"),
            Expectation::Deny(Some(id)) => write!(f, "deny {id}"),
            Expectation::Denials(count) => write!(f, "{count} denials"),
            Expectation::Level(level) => write!(f, "level {level}"),
        }
    }
}
