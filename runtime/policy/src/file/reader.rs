//! Reading the parts that every section is made of, and collecting what is wrong with them. Called by the files beside it.

use crate::yaml::{Entry, Node, YamlError};

/// Collects problems while sections are read.
pub(super) struct Reader<'a> {
    pub(super) file: &'a str,
    pub(super) today: &'a str,
    pub(super) wrong: Vec<YamlError>,
}

impl Reader<'_> {
    pub(super) fn items<'n>(&mut self, node: &'n Node) -> &'n [Node] {
        match node.as_sequence() {
            Some(items) => items,
            None => {
                self.fault(node, format!("a list is expected here, not {}", node.kind()), None);
                &[]
            }
        }
    }

    pub(super) fn entries<'n>(&mut self, node: &'n Node) -> &'n [Entry] {
        match node.as_mapping() {
            Some(entries) => entries,
            None => {
                self.fault(node, format!("a mapping is expected here, not {}", node.kind()), None);
                &[]
            }
        }
    }

    pub(super) fn text(&mut self, node: &Node) -> String {
        match node.as_text() {
            Some(text) => text.to_owned(),
            None => {
                self.fault(node, format!("a text is expected here, not {}", node.kind()), None);
                String::new()
            }
        }
    }

    pub(super) fn texts(&mut self, node: &Node) -> Vec<String> {
        let items = self.items(node);
        items.iter().map(|item| self.text(item)).collect()
    }

    /// The text of a key, empty when it is not there.
    pub(super) fn optional(&mut self, node: &Node, key: &str) -> String {
        node.get(key).map(|n| self.text(n)).unwrap_or_default()
    }

    /// The text of a key that must be there and say something.
    pub(super) fn required(&mut self, node: &Node, key: &str) -> String {
        let text = self.optional(node, key);
        if text.trim().is_empty() && node.get(key).is_none_or(|n| n.as_text().is_some()) {
            self.fault(node, format!("`{key}` is missing"), None);
        }
        text
    }

    /// An absolute path under a key that must be there.
    pub(super) fn path(&mut self, node: &Node, key: &str) -> String {
        let path = self.required(node, key);
        if !path.is_empty() && !path.starts_with('/') {
            self.fault(node, format!("`{key}: {path}` is not an absolute path"), None);
        }
        path
    }

    /// The value of a scalar as `parse` reads it.
    pub(super) fn parsed<T>(&mut self, node: &Node, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let text = node.as_text()?;
        parse(text).map_err(|wrong| self.fault(node, wrong, None)).ok()
    }

    /// A key whose one accepted value is written for the reader.
    pub(super) fn only(&mut self, node: &Node, key: &str, accepted: &str) {
        if let Some(found) = node.get(key)
            && found.as_text() != Some(accepted)
        {
            self.fault(found, format!("`{key}` can only be `{accepted}`"), None);
        }
    }

    /// Reports unknown keys.
    pub(super) fn keys(&mut self, node: &Node, known: &[&str]) {
        let mut wrong = node.expect_keys(known);
        for error in wrong.iter_mut().filter(|e| e.message == "unknown key `legacy`") {
            error.hint = Some("this version calls it `classic`".to_owned());
        }
        self.wrong.append(&mut wrong);
    }

    pub(super) fn fault(&mut self, node: &Node, message: String, hint: Option<String>) {
        let mut error = node.error(message);
        error.hint = hint;
        self.wrong.push(error);
    }
}
