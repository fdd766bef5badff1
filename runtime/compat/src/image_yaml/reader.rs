//! One file of image definitions: YAML nodes -> values by key, with every fault in them. Called by `image_yaml` only.

use dibw_plan::{Fault, FaultKind, Faults, document};
use dibw_policy::yaml::{Data, Node};

use super::ByKey;
use super::keys::{KEYS, Kind};

/// A value by its key's kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    /// As it is to be printed.
    Number(String),
    Level(usize),
    Flag(bool),
    List(Vec<String>),
    Map(Vec<(String, String)>),
}

/// One entry of a file.
pub(super) type Definition = ByKey;

/// The entries of a file.
pub(super) fn read(file: &str, list: &Node) -> Result<Vec<Definition>, Faults> {
    let mut reader = Reader { file, faults: Faults::default() };
    let Some(entries) = list.as_sequence() else {
        let message = format!("a list of image definitions is expected here, not {}", list.kind());
        return Err(reader
            .fault(list, message)
            .hint("begin each image with a dash: `- imagename: ...`")
            .into());
    };
    let definitions = entries.iter().map(|entry| reader.definition(entry)).collect();
    reader.faults.or(definitions)
}

struct Reader<'a> {
    file: &'a str,
    faults: Faults,
}

impl Reader<'_> {
    fn fault(&self, node: &Node, message: impl Into<String>) -> Fault {
        document::fault_at(FaultKind::Config, self.file, node.spot, message)
    }

    fn definition(&mut self, node: &Node) -> Definition {
        let known = KEYS.map(|key| key.name);
        let unknown = node.expect_keys(&known);
        let unknown = unknown.into_iter().map(|error| document::fault(FaultKind::Config, self.file, error));
        self.faults.0.extend(unknown);
        let mut definition = Definition::new();
        for entry in node.as_mapping().unwrap_or_default() {
            let Some(key) = KEYS.iter().find(|key| key.name == entry.key) else { continue };
            match self.value(key.name, key.kind, &entry.value) {
                Ok(value) => {
                    definition.insert(key.name, value);
                }
                Err(faults) => self.faults.0.extend(faults.0),
            }
        }
        definition
    }

    fn value(&self, key: &str, kind: Kind, node: &Node) -> Result<Value, Faults> {
        let wrong = || {
            let message = format!("`{key}`: {} is expected here, not {}", kind.words(), shown(node));
            Faults::from(self.fault(node, message))
        };
        match kind {
            Kind::Text => Ok(Value::Text(self.text(key, node)?)),
            Kind::OneOf(words) => Ok(Value::Text(self.word(key, words, node)?)),
            Kind::Level => match node.as_integer() {
                Some(level @ 0..=2) => Ok(Value::Level(level as usize)),
                _ => Err(wrong()),
            },
            Kind::Flag => node.as_bool().map(Value::Flag).ok_or_else(wrong),
            Kind::Whole => whole(node).map(Value::Number).ok_or_else(wrong),
            Kind::List => self.list(node.as_sequence().ok_or_else(wrong)?, |item| self.text(key, item)),
            Kind::ListOf(words) => {
                self.list(node.as_sequence().ok_or_else(wrong)?, |item| self.word(key, words, item))
            }
            Kind::Map => {
                let mut faults = Faults::default();
                let mut pairs = Vec::new();
                for entry in node.as_mapping().ok_or_else(wrong)? {
                    let value = faults.take(self.text(&entry.key, &entry.value));
                    pairs.extend(value.map(|value| (entry.key.clone(), value)));
                }
                faults.or(Value::Map(pairs))
            }
        }
    }

    fn list(&self, items: &[Node], read: impl Fn(&Node) -> Result<String, Faults>) -> Result<Value, Faults> {
        let mut faults = Faults::default();
        let words = items.iter().filter_map(|item| faults.take(read(item))).collect();
        faults.or(Value::List(words))
    }

    fn text(&self, key: &str, node: &Node) -> Result<String, Faults> {
        let found = node.as_str().map(str::to_owned);
        found.ok_or_else(|| {
            let fault = self.fault(node, format!("`{key}`: a string is expected here, not {}", shown(node)));
            // A number is easily meant as a string.
            match node.as_text() {
                Some(text) => fault.hint(format!("put it in quotes: \"{text}\"")).into(),
                None => fault.into(),
            }
        })
    }

    fn word(&self, key: &str, words: &[&str], node: &Node) -> Result<String, Faults> {
        let found = node.as_str().filter(|word| words.contains(word)).map(str::to_owned);
        found.ok_or_else(|| {
            let fault =
                self.fault(node, format!("`{key}`: {} is not one of {}", shown(node), words.join(", ")));
            fault.suggest(node.as_text().unwrap_or_default(), words.iter().copied()).into()
        })
    }
}

/// A value as a message shows it.
fn shown(node: &Node) -> String {
    match node.as_text() {
        Some(text) => format!("`{text}`"),
        None => node.kind().to_owned(),
    }
}

/// A number of at least 1 without a fraction; written with a point it keeps it, as diskimage-builder prints it.
fn whole(node: &Node) -> Option<String> {
    match node.data()? {
        Data::Integer(number) => Some(*number).filter(|number| *number >= 1).map(|number| number.to_string()),
        Data::Float(number) => {
            Some(*number).filter(|number| *number >= 1.0 && number.fract() == 0.0).map(|n| format!("{n:.1}"))
        }
        Data::Null | Data::Bool(_) | Data::Text => None,
    }
}
