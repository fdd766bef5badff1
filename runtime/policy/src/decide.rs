//! The one function that decides, and what it answers. Everything that asks "may it?" asks here.
//!
//! Callers: the host's gate, the mock host's gate, `dibw policy explain`.

use std::fmt;

use crate::capability::Capability;
use crate::effective::{Effective, Gate};
use crate::glob::Extent;
use crate::need::Need;
use crate::operation::Operation;
use crate::policy::Mode;
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
    /// The policy file would refuse it, but is in audit mode: it may, and the refusal is recorded.
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
    /// The exact lines that would allow it, one per gate; empty when no policy can.
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

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}` refused: {}", self.capability, self.subject, self.rule)
    }
}

impl std::error::Error for Denial {}

/// Whether an element with these rights may do this.
pub fn decide(effective: &Effective, operation: &Operation) -> Decision {
    let needed = match requirements(operation) {
        Ok(needed) => needed,
        Err(Impossible::Malformed(message)) => return Decision::Malformed { message },
        Err(Impossible::Never { capability, subject, rule }) => {
            return Decision::Deny(Denial {
                capability,
                subject: escape(&subject),
                rule,
                hint: String::new(),
            });
        }
    };
    let mut rules = Vec::new();
    let mut refused: Vec<(&Requirement, Vec<Gate>)> = Vec::new();
    for requirement in &needed {
        match effective.judge(requirement) {
            Ok(rule) => rules.push(rule),
            Err(gates) => refused.push((requirement, gates)),
        }
    }
    let Some(denial) = Denial::of_requirements(effective, &refused) else {
        return Decision::Allow { rule: rules.join("; ") };
    };
    let only_the_file = refused.iter().flat_map(|(_, gates)| gates).all(|g| g.belongs_to_the_file());
    match effective.mode() {
        Mode::Audit if only_the_file => Decision::WouldDeny(denial),
        Mode::Audit | Mode::Enforce => Decision::Deny(denial),
    }
}

impl Denial {
    fn of_requirements(effective: &Effective, refused: &[(&Requirement, Vec<Gate>)]) -> Option<Denial> {
        let (first, _) = refused.first()?;
        let mut rules = Vec::new();
        let mut hints = Vec::new();
        for (requirement, gates) in refused {
            let value = value_that_covers(requirement);
            for gate in gates {
                rules.push(gate.rule(effective, requirement.capability, &value));
                hints.push(gate.hint(effective, requirement.capability, &value));
            }
        }
        let subject = escape(&first.words.join(" "));
        Some(Denial { capability: first.capability, subject, rule: rules.join("; "), hint: hints.join("\n") })
    }

    /// The refusal of a need as a whole, before anything runs.
    pub(crate) fn of_need(effective: &Effective, need: &Need, gates: &[Gate]) -> Denial {
        let capability = need.capability();
        let each = |line: fn(Gate, &Effective, Capability, &str) -> String| -> Vec<String> {
            gates.iter().map(|g| line(*g, effective, capability, need.value())).collect()
        };
        Denial {
            capability,
            subject: escape(need.value()),
            rule: each(Gate::rule).join("; "),
            hint: each(Gate::hint).join("\n"),
        }
    }
}

/// The narrowest value of a need that covers the requirement.
fn value_that_covers(requirement: &Requirement) -> String {
    let joined = requirement.words.join(" ");
    match requirement.extent {
        Extent::Entry | Extent::Directory => joined,
        Extent::Tree => format!("{}/**", joined.trim_end_matches('/')),
    }
}

impl Gate {
    fn rule(self, effective: &Effective, capability: Capability, value: &str) -> String {
        let (element, value, label) = (effective.element(), escape(value), effective.label());
        match self {
            Gate::Needs => format!("`{element}` does not declare {capability} {value} in its needs"),
            Gate::Risk => format!(
                "{capability} {value} has risk 4 ({}) and is granted on the command line only",
                capability.reason()
            ),
            Gate::Grant => format!("{label} does not grant {capability} {value} to `{element}`"),
            Gate::Ceiling => format!("{capability} {value} is above the ceiling of {label}"),
        }
    }

    /// The exact line to add.
    fn hint(self, effective: &Effective, capability: Capability, value: &str) -> String {
        let (element, value) = (effective.element(), escape(value));
        match self {
            Gate::Needs => {
                let line =
                    Need::new(capability, &value).map_or_else(|_| value.clone(), |n| n.as_macro_line());
                format!("in the element's needs!: {line}")
            }
            Gate::Risk => format!("on the command line: --grant '{element}:{capability}={value}'"),
            Gate::Grant => {
                format!("in grants: - {{element: {{id: {element}}}, allow: {{{capability}: [{value:?}]}}}}")
            }
            Gate::Ceiling => format!("in ceiling: {capability}: [{value:?}]"),
        }
    }
}

#[cfg(test)]
mod tests;
