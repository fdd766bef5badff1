//! One record for each decision, and the chain that ties them together: who removes, changes or reorders one breaks it.
//!
//! Each line holds the SHA-256 of the line before it; the last line says that it is the last, so that a cut end is seen too.
//! The chain shows that a log is whole, not who wrote it: who can rewrite all of it can make a new one.
//! Must not know: clocks, files. Callers: the host's gate makes records, the engine writes them, `dibw audit` reads them.

mod summary;
mod verify;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::capability::Capability;
use crate::decide::Decision;
use crate::effective::Effective;
use crate::glob::Extent;
use crate::operation::Operation;
use crate::policy::Mode;
use crate::requirement::{Impossible, Requirement, requirements};
use crate::subject::escape;

pub use summary::{ElementSummary, Summary};
pub use verify::{ChainFault, verify};

/// What was asked, and what was answered. Serialises to one JSON object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Record {
    /// The element that asked.
    pub element: String,
    /// SHA-256 of its component, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
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
    /// What refusals of the policy do.
    #[serde(skip)]
    pub mode: Mode,
}

/// What only the writer of a log knows about a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Circumstance {
    /// When, as `2026-11-21T18:30:09Z`.
    pub t: String,
    /// How long the operation took, in milliseconds, where that is known.
    pub dur_ms: Option<u64>,
    /// How many bytes it moved, where that is known.
    pub bytes: Option<u64>,
}

/// One line of a log. The names are those of the format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Version of the format.
    pub v: u32,
    /// When.
    pub t: String,
    /// The build.
    pub build: String,
    /// Number of the line, from 0.
    pub seq: u64,
    /// SHA-256 of the line before, hexadecimal; zeros in the first.
    pub prev: String,
    /// The element that asked.
    pub element: String,
    /// SHA-256 of its component; empty when it has none.
    pub digest: String,
    /// The phase.
    pub phase: String,
    /// The capability.
    pub cap: String,
    /// What for; escaped.
    pub subject: String,
    /// `allow`, `would-deny`, `deny`, `malformed`; `end` in the last line.
    pub decision: String,
    /// The rule that decided.
    pub rule: String,
    /// SHA-256 over the policy in force; `built-in` without files.
    pub policy: String,
    /// `enforce` or `audit`.
    pub mode: Mode,
    /// How long it took, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dur_ms: Option<u64>,
    /// How many bytes it moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// The version of the format.
pub const VERSION: u32 = 1;
/// What the last line decides.
const END: &str = "end";

/// Numbers records and links each to the one before.
#[derive(Clone, Debug)]
pub struct Chain {
    build: String,
    policy: String,
    seq: u64,
    prev: String,
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
        Record {
            element: effective.element().to_owned(),
            digest: effective.identity().digest.clone(),
            phase: phase.to_owned(),
            capability: capability.map_or_else(|| "-".to_owned(), |c| c.to_string()),
            subject,
            decision: word,
            rule,
            mode: effective.mode(),
        }
    }
}

impl Chain {
    /// The chain of a build. `policy` is [`crate::Policy::digest`].
    pub fn new(build: &str, policy: &str) -> Self {
        Chain { build: build.to_owned(), policy: policy.to_owned(), seq: 0, prev: first_link() }
    }

    /// The next line, without its line feed. It must be written before the next is asked for.
    pub fn line(&mut self, record: &Record, when: &Circumstance) -> String {
        let line = Line {
            v: VERSION,
            t: when.t.clone(),
            build: self.build.clone(),
            seq: self.seq,
            prev: self.prev.clone(),
            element: record.element.clone(),
            digest: record.digest.clone().unwrap_or_default(),
            phase: record.phase.clone(),
            cap: record.capability.clone(),
            subject: record.subject.clone(),
            decision: record.decision.to_owned(),
            rule: record.rule.clone(),
            policy: self.policy.clone(),
            mode: record.mode,
            dur_ms: when.dur_ms,
            bytes: when.bytes,
        };
        self.link(&line)
    }

    /// The last line, without its line feed: nothing follows it.
    pub fn end(mut self, t: &str, mode: Mode) -> String {
        let line = Line {
            v: VERSION,
            t: t.to_owned(),
            build: self.build.clone(),
            seq: self.seq,
            prev: self.prev.clone(),
            element: String::new(),
            digest: String::new(),
            phase: String::new(),
            cap: "-".to_owned(),
            subject: format!("{} records", self.seq),
            decision: END.to_owned(),
            rule: String::new(),
            policy: self.policy.clone(),
            mode,
            dur_ms: None,
            bytes: None,
        };
        self.link(&line)
    }

    fn link(&mut self, line: &Line) -> String {
        let text = serde_json::to_string(line).expect("a record is plain data");
        self.seq += 1;
        self.prev = sha256(text.as_bytes());
        text
    }
}

fn first_link() -> String {
    "0".repeat(64)
}

/// The SHA-256 of bytes, lower-case hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The words, with the mark of a tree that is removed, moved or handed over: so a record can be asked again.
fn subject_of(requirement: &Requirement) -> String {
    let words = requirement.words.join(" ");
    match requirement.extent {
        Extent::Entry | Extent::Directory => words,
        Extent::Tree => format!("{}/**", words.trim_end_matches('/')),
    }
}

fn described(operation: &Operation) -> (Option<Capability>, String) {
    match requirements(operation) {
        Ok(needed) => match needed.first() {
            Some(first) => (Some(first.capability), escape(&subject_of(first))),
            None => (None, String::new()),
        },
        Err(Impossible::Never { capability, subject, .. }) => (Some(capability), escape(&subject)),
        Err(Impossible::Malformed(_)) => (None, escape(&format!("{operation:?}"))),
    }
}
