//! The record of every decision: one JSON object per line, written beside the artifacts as `NAME.audit.jsonl`.

use dibw_policy::Record;

/// All records of a build.
#[derive(Debug, Default)]
pub struct Audit {
    lines: String,
}

impl Audit {
    /// Adds one record.
    pub fn add(&mut self, record: &Record) {
        self.lines.push_str(&serde_json::to_string(record).expect("a record is plain data"));
        self.lines.push('\n');
    }

    /// All records, one a line.
    pub fn text(&self) -> &str {
        &self.lines
    }
}
