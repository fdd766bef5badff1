//! A policy, parsed: who grants what, what nothing may exceed, how classic hooks are confined.
//!
//! The built-in policy ([`Policy::default`]) grants every need up to [`RISK_LIMIT`]; a file ([`crate::file::parse`]) narrows that.
//! Callers: [`crate::effective`], [`crate::confinement`], the plan.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::confinement::Level;
use crate::need::Need;

/// Needs above this risk are granted on the command line only.
pub const RISK_LIMIT: u8 = 3;

/// Whether refusals stop a build or are only recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Refusals are refusals.
    #[default]
    Enforce,
    /// What the file would refuse is allowed and recorded. What no policy can allow stays refused.
    Audit,
}

/// The rules in force for a build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The policy's own name; empty for the built-in one.
    pub name: String,
    /// The file it was read from; none for the built-in one.
    pub file: Option<String>,
    /// What a refusal does.
    pub mode: Mode,
    /// How classic hooks are confined.
    pub classic: Classic,
    /// What nothing may exceed; none: no ceiling. A capability without a rule is then granted to nobody.
    pub ceiling: Option<Vec<Rule>>,
    /// What elements get; only looked at when there is a file.
    pub grants: Vec<ElementGrant>,
}

/// A pattern and the line that it stands in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// What it covers.
    pub need: Need,
    /// Line in the policy file, from 1.
    pub line: usize,
}

/// What one element gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElementGrant {
    /// The element's id.
    pub element: String,
    /// What it gets.
    pub allow: Vec<Rule>,
}

/// How classic elements are confined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Classic {
    /// For elements without a rule of their own.
    pub default: Option<Level>,
    /// Rules for single elements.
    pub allow: Vec<ClassicRule>,
}

/// How one classic element is confined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicRule {
    /// The element's name.
    pub element: String,
    /// Its level.
    pub level: Level,
    /// Why; required for `host`.
    pub reason: String,
    /// Who answers for it; required for `host`.
    pub owner: String,
    /// Last day (`YYYY-MM-DD`); required for `host`.
    pub expires: String,
    /// Line in the policy file, from 1.
    pub line: usize,
}

/// What is wrong with a policy file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyFault {
    /// The file.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// One sentence.
    pub message: String,
    /// A way out.
    pub hint: Option<String>,
}

impl Policy {
    /// The grants of the file for an element.
    pub(crate) fn grants_of<'a>(&'a self, element: &'a str) -> impl Iterator<Item = &'a Rule> {
        self.grants.iter().filter(move |g| g.element == element).flat_map(|g| &g.allow)
    }

    /// What to call the policy in messages.
    pub fn label(&self) -> &str {
        self.file.as_deref().unwrap_or("the built-in policy")
    }
}

impl fmt::Display for PolicyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for PolicyFault {}
