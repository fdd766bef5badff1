//! What a step told while it ran, kept with its layer: audit records and warnings. Both are told again when the layer is used.

use std::rc::Rc;

use dibw_policy::Record;
use serde::{Deserialize, Serialize};

use crate::events::{Event, Events, Level};

/// A record of the audit log, as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct KeptRecord {
    element: String,
    digest: Option<String>,
    phase: String,
    capability: String,
    subject: String,
    decision: String,
    rule: String,
    mode: dibw_policy::Mode,
}

/// Decisions as records have them; an unknown one of a damaged entry counts as the worst.
const DECISIONS: [&str; 4] = ["allow", "would-deny", "deny", "malformed"];

impl From<Record> for KeptRecord {
    fn from(record: Record) -> Self {
        Self {
            element: record.element,
            digest: record.digest,
            phase: record.phase,
            capability: record.capability,
            subject: record.subject,
            decision: record.decision.to_owned(),
            rule: record.rule,
            mode: record.mode,
        }
    }
}

impl From<KeptRecord> for Record {
    fn from(record: KeptRecord) -> Self {
        let decision = DECISIONS.into_iter().find(|known| *known == record.decision);
        Self {
            element: record.element,
            digest: record.digest,
            phase: record.phase,
            capability: record.capability,
            subject: record.subject,
            decision: decision.unwrap_or("malformed"),
            rule: record.rule,
            mode: record.mode,
        }
    }
}

/// Warnings since somebody took them, for the layer of the step that gave them.
#[derive(Default)]
pub(crate) struct Warnings(std::cell::RefCell<Vec<(String, String)>>);

impl Warnings {
    fn note(&self, element: &str, text: &str) {
        self.0.borrow_mut().push((element.to_owned(), text.to_owned()));
    }

    pub(super) fn take(&self) -> Vec<(String, String)> {
        self.0.take()
    }
}

/// Passes events on, and notes warnings.
pub(crate) struct Noting {
    pub listener: Rc<dyn Events>,
    pub warnings: Rc<Warnings>,
}

impl Events for Noting {
    fn tell(&self, event: Event) {
        if let Event::Message { level: Level::Warn, element, text } = &event {
            self.warnings.note(element, text);
        }
        self.listener.tell(event);
    }
}
