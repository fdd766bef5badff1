//! The one function that decides, and what it answers. Everything that asks "may it?" asks here.
//!
//! Callers: the host's gate, the mock host's gate, `dibw policy explain`.

use std::fmt;

use crate::capability::{Capability, ValueKind};
use crate::effective::Effective;
use crate::explanation::{Answer, Explanation};
use crate::fix::Fix;
use crate::glob::Extent;
use crate::operation::Operation;
use crate::requirement::{Impossible, Requirement, requirements};
use crate::subject::escape;

/// What [`decide`] answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may; `rule` says why.
    Allow {
        /// The need and the grant.
        rule: String,
    },
    /// The policy files would refuse it, but are in audit mode: it may, and the refusal is recorded.
    WouldDeny(Denial),
    /// It may not.
    Deny(Denial),
    /// The request makes no sense (a relative path, a name that is none); nothing was decided.
    Malformed {
        /// What is wrong with it.
        message: String,
    },
}

/// A refusal: what was refused, by which rule, and what would allow it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The capability that is missing.
    pub capability: Capability,
    /// What it was wanted for; escaped, at most about 200 bytes.
    pub subject: String,
    /// Every gate that refused, in one sentence.
    pub rule: String,
    /// The exact lines that would allow it, one per place; empty when no policy can.
    pub hint: String,
}

impl Decision {
    /// Whether the operation goes ahead.
    pub fn is_allowed(&self) -> bool {
        match self {
            Decision::Allow { .. } | Decision::WouldDeny(_) => true,
            Decision::Deny(_) | Decision::Malformed { .. } => false,
        }
    }
}

impl Denial {
    /// The refusal that the answers of gates amount to.
    pub(crate) fn of_answers(capability: Capability, subject: &str, answers: &[&Answer]) -> Self {
        let rules: Vec<&str> = answers.iter().map(|answer| answer.reason.as_str()).collect();
        let fixes = crate::fix::of_answers(answers.iter().copied());
        let hint = fixes.iter().map(Fix::to_string).collect::<Vec<_>>().join("\n");
        Denial { capability, subject: escape(subject), rule: rules.join("; "), hint }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}` refused: {}", self.capability, self.subject, self.rule)
    }
}

impl std::error::Error for Denial {}

/// Whether an element with these rights may do this.
pub fn decide(effective: &Effective, operation: &Operation) -> Decision {
    explain(effective, operation).decision()
}

/// What every gate says about it: [`decide`] with its reasons.
pub fn explain(effective: &Effective, operation: &Operation) -> Explanation {
    let needed = match requirements(operation) {
        Ok(needed) => needed,
        Err(Impossible::Malformed(message)) => return Explanation::Malformed { message },
        Err(Impossible::Never { capability, subject, rule }) => {
            return Explanation::Impossible { capability, subject, rule };
        }
    };
    let verdicts = needed.iter().map(|requirement| effective.judge(requirement)).collect();
    Explanation::Judged { verdicts, mode: effective.mode() }
}

/// What every gate says about one right, for questions that are no operation: a class of places, a group of accounts.
pub fn explain_right(effective: &Effective, capability: Capability, words: &[String]) -> Explanation {
    let requirement = Requirement { capability, words: words.to_vec(), extent: Extent::Entry };
    Explanation::Judged { verdicts: vec![effective.judge(&requirement)], mode: effective.mode() }
}

impl Requirement {
    /// Whether a value that covers it would cover more: an element may ask for a file called `*`, and whoever pastes what is proposed
    /// then must not grant all files. So nothing is proposed.
    pub(crate) fn is_a_pattern(&self) -> bool {
        match self.capability.value_kind() {
            // These have no wildcards where a request can have such characters.
            ValueKind::None | ValueKind::Url | ValueKind::Cidr | ValueKind::Size => false,
            ValueKind::Path
            | ValueKind::Class
            | ValueKind::Argv
            | ValueKind::Name
            | ValueKind::Service
            | ValueKind::Variable
            | ValueKind::Secret
            | ValueKind::Mount => self.words.iter().any(|word| word.contains(['*', '?'])),
        }
    }

    /// The narrowest value of a need that covers it.
    pub(crate) fn narrowest_value(&self) -> String {
        let joined = match self.capability.value_kind() {
            // In a command line a space ends a word, so one within a word is matched by `?`.
            ValueKind::Argv => {
                self.words.iter().map(|word| word.replace(' ', "?")).collect::<Vec<_>>().join(" ")
            }
            ValueKind::None
            | ValueKind::Path
            | ValueKind::Class
            | ValueKind::Name
            | ValueKind::Service
            | ValueKind::Variable
            | ValueKind::Url
            | ValueKind::Cidr
            | ValueKind::Secret
            | ValueKind::Size
            | ValueKind::Mount => self.words.join(" "),
        };
        match self.extent {
            Extent::Entry | Extent::Directory => joined,
            Extent::Tree => format!("{}/**", joined.trim_end_matches('/')),
        }
    }
}

#[cfg(test)]
mod tests;
