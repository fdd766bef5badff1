//! What a log amounts to: who asked for what how often, and what was refused. Called by `verify`, printed by `dibw audit`.

use std::collections::BTreeMap;

use super::Line;

/// What a log holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many decisions.
    pub records: usize,
    /// By element.
    pub elements: BTreeMap<String, ElementSummary>,
    /// What was refused, or would have been, in order.
    pub denied: Vec<Line>,
    /// All decisions, in order.
    pub lines: Vec<Line>,
}

/// What one element asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ElementSummary {
    /// Its component's SHA-256; empty when it has none.
    pub digest: String,
    /// How often it was allowed.
    pub allowed: usize,
    /// How often it was refused.
    pub denied: usize,
    /// How often a policy in audit mode would have refused it.
    pub would_deny: usize,
    /// How often it made no sense.
    pub malformed: usize,
    /// How often it asked, by capability.
    pub capabilities: BTreeMap<String, usize>,
}

impl Summary {
    pub(super) fn add(&mut self, line: Line) {
        self.records += 1;
        let element = self.elements.entry(line.element.clone()).or_default();
        element.digest.clone_from(&line.digest);
        *element.capabilities.entry(line.cap.clone()).or_default() += 1;
        match line.decision.as_str() {
            "allow" => element.allowed += 1,
            "would-deny" => element.would_deny += 1,
            "malformed" => element.malformed += 1,
            // A word that is not known counts as a refusal: it is looked at.
            _ => element.denied += 1,
        }
        if !matches!(line.decision.as_str(), "allow" | "malformed") {
            self.denied.push(line.clone());
        }
        self.lines.push(line);
    }
}
