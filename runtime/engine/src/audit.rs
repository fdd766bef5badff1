//! The record of every decision: one JSON object per line, written beside the artifacts as `NAME.audit.jsonl`.

use serde::Serialize;

/// All records of a build.
#[derive(Debug, Default)]
pub struct Audit {
    lines: String,
}

/// One decision.
#[derive(Debug, Serialize)]
pub struct Record<'a> {
    /// The element that asked.
    pub element: &'a str,
    /// SHA-256 of its component.
    pub digest: &'a str,
    /// In which phase.
    pub phase: &'a str,
    /// What was asked, as capability and subject.
    pub capability: &'a str,
    /// The path, package, unit, ...
    pub subject: &'a str,
    /// `allow` or `deny`.
    pub decision: &'a str,
    /// By which rule.
    pub rule: &'a str,
}

impl Audit {
    /// Adds one record.
    pub fn add(&mut self, record: &Record<'_>) {
        self.lines.push_str(&serde_json::to_string(record).expect("a record is plain data"));
        self.lines.push('\n');
    }

    /// All records, one a line.
    pub fn text(&self) -> &str {
        &self.lines
    }
}
