//! `dibw policy check`: what is wrong with a policy though it parses, and how exposed it leaves a site.
//!
//! A score says how much a policy hands out, not whether someone abuses it: a high score means exposed, not vulnerable; zero does not mean
//! safe. Must not know: files, elements on disk (the caller tells which are installed).
//! Callers: `dibw policy check`.

mod combination;
mod exposure;

use std::fmt;

use crate::file::{Ceiling, ElementGrant, PolicyFile};
use crate::identity::{Identity, Pin, short};
use crate::policy::{Layer, Policy, Rule};
use crate::trust::TrustKind;

pub use combination::COMBINATIONS;
pub use exposure::{Exposure, Factor, score};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It is worth knowing.
    Warn,
    /// It cannot be meant.
    Error,
}

/// Something to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Where: `FILE:LINE`, or the name of a combination.
    pub place: String,
    /// What, in a sentence.
    pub message: String,
    /// More of it, or a way out; each line with its word.
    pub notes: Vec<String>,
}

/// All that is to be said about a policy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// What to look at, the worst first.
    pub findings: Vec<Finding>,
    /// How exposed each element leaves the site, the most exposed first.
    pub exposures: Vec<Exposure>,
}

impl Report {
    /// The highest score.
    pub fn overall(&self) -> f64 {
        self.exposures.iter().map(Exposure::score).fold(0.0, f64::max)
    }

    /// Whether something in it cannot be meant.
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Error)
    }
}

/// The word for a score, by systemd's bands.
pub fn band(score: f64) -> &'static str {
    match score {
        s if s < 2.0 => "OK",
        s if s < 5.0 => "MEDIUM",
        s if s < 7.0 => "EXPOSED",
        _ => "DANGEROUS",
    }
}

/// Checks a policy. `installed`: the elements that there are, when they are known.
pub fn check(policy: &Policy, installed: Option<&[Identity]>) -> Report {
    let mut findings = Vec::new();
    for layer in policy.layers() {
        for file in layer.files() {
            for (index, grant) in file.grants.iter().enumerate() {
                findings.extend(grant.allow.iter().flat_map(|rule| above_ceilings(rule, layer)));
                findings.extend(pinning(file, index, grant, installed));
            }
            findings.extend(trust(file));
        }
        findings.extend(combination::find(layer));
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    Report { findings, exposures: exposure::of(policy) }
}

/// A grant that a ceiling of its layer does not reach at all is an error; one that it cuts is worth knowing.
fn above_ceilings(rule: &Rule, layer: &Layer) -> Vec<Finding> {
    let ceilings = layer.files().iter().filter_map(|file| Some((file, file.ceiling.as_ref()?)));
    ceilings.filter_map(|(file, ceiling)| above_ceiling(rule, file, ceiling)).collect()
}

fn above_ceiling(rule: &Rule, file: &PolicyFile, ceiling: &Ceiling) -> Option<Finding> {
    let rules = ceiling.rules.as_ref()?;
    let same: Vec<&Rule> =
        rules.iter().filter(|other| other.need.capability() == rule.need.capability()).collect();
    if same.iter().any(|other| other.need.contains(&rule.need)) {
        return None;
    }
    let cut = same.iter().any(|other| rule.need.contains(&other.need));
    let (severity, how) =
        if cut { (Severity::Warn, "lies partly outside") } else { (Severity::Error, "lies outside") };
    let capability = rule.need.capability();
    let values: Vec<&str> = same.iter().map(|other| other.need.value()).collect();
    let note = match same.first() {
        Some(first) => {
            format!("note: ceiling.{capability} allows {}   {}:{}", values.join(", "), file.file, first.line)
        }
        None => format!("note: the ceiling does not name {capability}   {}:{}", file.file, ceiling.line),
    };
    Some(Finding {
        severity,
        place: format!("{}:{}", rule.file, rule.line),
        message: format!("{} {:?} {how} the ceiling", rule.key, rule.need.value()),
        notes: vec![note],
    })
}

/// Grants that are tied to nothing, or to bytes that are not there.
fn pinning(
    file: &PolicyFile,
    index: usize,
    grant: &ElementGrant,
    installed: Option<&[Identity]>,
) -> Option<Finding> {
    let found = |message: String, note: String| Finding {
        severity: Severity::Warn,
        place: format!("{}:{}", file.file, grant.line),
        message,
        notes: vec![note],
    };
    let there = |fits: &dyn Fn(&Identity) -> bool| installed.is_none_or(|all| all.iter().any(fits));
    match &grant.pin {
        Pin::Name => {
            let now = installed.and_then(|all| all.iter().find(|identity| identity.id == grant.element));
            let pinned = now.map_or_else(
                || format!("{{id: {}, digest: \"sha256:...\"}}", grant.element),
                Identity::as_grantee,
            );
            Some(found(
                format!("grants[{index}] is for any element that is called `{}`", grant.element),
                format!("fix: element: {pinned}"),
            ))
        }
        Pin::Digest(digest) if !there(&|i| i.digest.as_ref() == Some(digest)) => {
            Some(unused(found, index, "digest", digest))
        }
        Pin::Tree(tree) if !there(&|i| i.tree.as_ref() == Some(tree)) => {
            Some(unused(found, index, "tree", tree))
        }
        Pin::Publisher(_) if !there(&|i| i.id == grant.element) => Some(found(
            format!("grants[{index}] is for `{}`, which is not installed (unused)", grant.element),
            "note: elements are looked for on ELEMENTS_PATH".to_owned(),
        )),
        Pin::Digest(_) | Pin::Tree(_) | Pin::Publisher(_) => None,
    }
}

fn unused(found: impl Fn(String, String) -> Finding, index: usize, word: &str, digest: &str) -> Finding {
    found(
        format!("grants[{index}] {word} {} is not in any installed element (unused)", short(digest)),
        "note: elements are looked for on ELEMENTS_PATH".to_owned(),
    )
}

fn trust(file: &PolicyFile) -> Vec<Finding> {
    let entries = file.trust.iter().flat_map(|trust| &trust.any_of);
    let findings = entries.filter_map(|entry| {
        let (message, note) = match &entry.kind {
            TrustKind::Key { .. } => return None,
            TrustKind::Keyless { subject, .. } => (
                format!("kind keyless ({subject}) is never satisfied by this version of dibw"),
                "note: it needs sigstore's servers; sign with a key".to_owned(),
            ),
            TrustKind::Unsigned { reason } => (
                format!("any element is trusted ({reason})"),
                "note: what it may do is then only limited by grants and ceiling".to_owned(),
            ),
        };
        let place = format!("{}:{}", file.file, entry.line);
        Some(Finding { severity: Severity::Warn, place, message, notes: vec![note] })
    });
    findings.collect()
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.severity {
            Severity::Warn => "WARN ",
            Severity::Error => "ERROR",
        };
        write!(f, "{word}  {} {}", self.place, self.message)?;
        for note in &self.notes {
            write!(f, "\n       {note}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
