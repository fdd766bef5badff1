//! Where a layout comes from and what is wrong with it: collects faults with file and line, and reads typed fields of flat nodes.
//! Knows nothing of what the fields mean. Called by the other modules of `layout`.

use dibw_policy::yaml::{Entry, Node, Spot, YamlError};

use crate::fault::{Fault, FaultKind, Faults, Place, nearest};

/// The file being read, and what was found so far.
#[derive(Debug)]
pub(super) struct Source<'a> {
    pub(super) file: &'a str,
    pub(super) faults: Faults,
    pub(super) warnings: Vec<String>,
    /// Names of nodes that have faults of their own: that others stand on them is no further fault.
    pub(super) lost: Vec<String>,
}

impl<'a> Source<'a> {
    pub(super) fn new(file: &'a str) -> Self {
        Self { file, faults: Faults::default(), warnings: Vec::new(), lost: Vec::new() }
    }

    pub(super) fn place(&self, spot: Spot) -> Place {
        Place { file: self.file.to_owned(), line: spot.line, column: spot.column }
    }

    pub(super) fn fault(&mut self, spot: Spot, message: impl Into<String>) {
        self.faults.push(Fault::new(FaultKind::Layout, message).at(self.file, spot.line, spot.column));
    }

    pub(super) fn fault_with_hint(
        &mut self,
        spot: Spot,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let fault = Fault::new(FaultKind::Layout, message).at(self.file, spot.line, spot.column);
        self.faults.push(fault.hint(hint));
    }

    /// A fault about a name that is not known, with the nearest known one.
    pub(super) fn unknown_name(&mut self, spot: Spot, message: String, wrong: &str, known: &[&str]) {
        match nearest(wrong, known.iter().copied()) {
            Some(name) => self.fault_with_hint(spot, message, format!("did you mean `{name}`?")),
            None => self.fault(spot, message),
        }
    }

    pub(super) fn warn(&mut self, spot: Spot, message: impl std::fmt::Display) {
        self.warnings.push(format!("{}: {message}", self.place(spot)));
    }

    pub(super) fn yaml(&mut self, error: YamlError) {
        let fault = Fault::new(FaultKind::Layout, error.message).at(self.file, error.line, error.column);
        self.faults.push(match error.hint {
            Some(hint) => fault.hint(hint),
            None => fault,
        });
    }

    /// Refuses keys that mean nothing here. diskimage-builder ignores them, and with them the user's intention.
    pub(super) fn expect_keys(&mut self, fields: Fields<'_>, known: &[&str]) {
        for entry in fields.entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let message = format!("unknown key `{}` in {}", entry.key, fields.what);
            match nearest(&entry.key, known.iter().copied()) {
                Some(name) => self.fault_with_hint(entry.spot, message, format!("did you mean `{name}`?")),
                None => {
                    self.fault_with_hint(entry.spot, message, format!("known keys: {}", known.join(", ")))
                }
            }
        }
    }

    /// A text; numbers and booleans count as written. A list, a mapping or null is a fault.
    pub(super) fn text(&mut self, fields: Fields<'_>, key: &str) -> Option<String> {
        let node = fields.get(key)?;
        let text = node.as_text().map(str::to_owned);
        if text.is_none() {
            self.fault(
                node.spot,
                format!("`{key}` of {} must be a string, not {}", fields.what, node.kind()),
            );
        }
        text
    }

    /// A text that must be there: `missing` is the message when it is not.
    pub(super) fn required(&mut self, fields: Fields<'_>, key: &str, missing: &str) -> Option<String> {
        if fields.get(key).is_none() {
            self.fault(fields.spot, missing);
        }
        self.text(fields, key)
    }

    /// A list of texts; a single text counts as a list of one.
    pub(super) fn texts(&mut self, fields: Fields<'_>, key: &str) -> Vec<String> {
        let Some(node) = fields.get(key) else { return Vec::new() };
        if let Some(text) = node.as_text() {
            return vec![text.to_owned()];
        }
        let Some(items) = node.as_sequence() else {
            self.fault(node.spot, format!("`{key}` of {} must be a list, not {}", fields.what, node.kind()));
            return Vec::new();
        };
        let mut texts = Vec::new();
        for item in items {
            match item.as_text() {
                Some(text) => texts.push(text.to_owned()),
                None => self.fault(
                    item.spot,
                    format!("`{key}` of {} must hold strings, not {}", fields.what, item.kind()),
                ),
            }
        }
        texts
    }

    /// An integer from 0.
    pub(super) fn number(&mut self, fields: Fields<'_>, key: &str) -> Option<u32> {
        let node = fields.get(key)?;
        let value = node.as_integer().or_else(|| node.as_text()?.parse().ok());
        let number = value.and_then(|value| u32::try_from(value).ok());
        if number.is_none() {
            self.fault(node.spot, format!("`{key}` of {} must be a whole number from 0", fields.what));
        }
        number
    }

    /// Passes on what was read of a node; when it could not be read, remembers its name.
    pub(super) fn keep<T>(&mut self, name: Option<&Node>, read: Option<T>) -> Option<T> {
        if read.is_none() {
            self.lost.extend(name.and_then(Node::as_text).map(str::to_owned));
        }
        read
    }

    /// A list of mappings that must be there.
    pub(super) fn records<'n>(&mut self, fields: Fields<'n>, key: &str, missing: &str) -> Vec<&'n Node> {
        let Some(node) = fields.get(key) else {
            self.fault(fields.spot, missing);
            return Vec::new();
        };
        let Some(items) = node.as_sequence() else {
            self.fault(node.spot, format!("`{key}` of {} must be a list, not {}", fields.what, node.kind()));
            return Vec::new();
        };
        let (good, bad): (Vec<_>, Vec<_>) = items.iter().partition(|item| item.as_mapping().is_some());
        for item in bad {
            self.fault(item.spot, format!("an entry of `{key}` must be a mapping, not {}", item.kind()));
        }
        good
    }
}

/// The fields of one node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    /// What they belong to, for messages: `mkfs`, `partition`.
    pub(super) what: &'a str,
    pub(super) spot: Spot,
    pub(super) entries: &'a [Entry],
}

impl<'a> Fields<'a> {
    /// Of a mapping; anything else has none.
    pub(super) fn of(what: &'a str, node: &'a Node) -> Self {
        Self { what, spot: node.spot, entries: node.as_mapping().unwrap_or_default() }
    }

    pub(super) fn get(self, key: &str) -> Option<&'a Node> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// Where a key's value is, or the node.
    pub(super) fn spot_of(self, key: &str) -> Spot {
        self.get(key).map_or(self.spot, |node| node.spot)
    }
}
