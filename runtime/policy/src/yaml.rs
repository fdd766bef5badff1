//! YAML text -> a tree of nodes that know their line: the one YAML reader of dibw. Scalars are typed as PyYAML's safe loader types
//! them (YAML 1.1), because that is what the files of diskimage-builder's users mean. Knows nothing of what the documents say and does
//! no I/O. Called by everything that reads YAML in plan, compat, policy and the command line.

mod build;
mod scalar;

use std::fmt;

pub use scalar::Data;

/// Longest document read, in bytes.
pub const MAX_BYTES: usize = 1 << 20;
/// Deepest nesting, aliases expanded.
pub const MAX_DEPTH: usize = 64;
/// Most nodes, aliases expanded: a document of 1 MiB without aliases stays well below.
pub const MAX_NODES: usize = 600_000;

/// What is wrong with a document, and where. Lines and columns count from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct YamlError {
    /// One sentence.
    pub message: String,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// A way out.
    pub hint: Option<String>,
}

impl fmt::Display for YamlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for YamlError {}

/// Where a node or key begins. Lines and columns count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
}

/// A value and where it begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Its beginning.
    pub spot: Spot,
}

/// The three kinds of YAML values.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A single value.
    Scalar(Scalar),
    /// A list.
    Sequence(Vec<Node>),
    /// Keys and values in the order of the file; keys are unique.
    Mapping(Vec<Entry>),
}

/// A single value: as written and as understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Scalar {
    /// The text, without quotes.
    pub raw: String,
    /// Whether it was written in quotes or as a block.
    pub quoted: bool,
    /// What it means.
    pub data: Data,
}

/// One line of a mapping.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key, as written.
    pub key: String,
    /// Where the key begins.
    pub spot: Spot,
    /// The value.
    pub value: Node,
}

/// Reads a text of exactly one document. An empty text is null.
///
/// # Errors
/// Syntax errors, more than one document, a duplicate or non-scalar key, an unknown tag, and the bounds above.
pub fn load(text: &str) -> Result<Node, YamlError> {
    build::document(text, Anchors::Expanded)
}

/// Like [`load`], for documents whose lines must each say what they mean: anchors, aliases and merge keys are refused.
///
/// # Errors
/// As [`load`], and those.
pub fn load_without_anchors(text: &str) -> Result<Node, YamlError> {
    build::document(text, Anchors::Refused)
}

/// What is done with anchors, aliases and merge keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Anchors {
    Expanded,
    Refused,
}

impl Node {
    /// The text of a string. `None` for numbers, booleans and null: `as_text` takes those as written.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(Scalar { raw, data: Data::Text, .. }) => Some(raw),
            _ => None,
        }
    }

    /// The text of any scalar but null, as written.
    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(scalar) if scalar.data != Data::Null => Some(&scalar.raw),
            _ => None,
        }
    }

    /// A boolean (`yes`, `no`, `on`, `off`, `true`, `false`).
    pub fn as_bool(&self) -> Option<bool> {
        match self.data() {
            Some(Data::Bool(value)) => Some(*value),
            _ => None,
        }
    }

    /// An integer.
    pub fn as_integer(&self) -> Option<i128> {
        match self.data() {
            Some(Data::Integer(value)) => Some(*value),
            _ => None,
        }
    }

    /// What a scalar means.
    pub fn data(&self) -> Option<&Data> {
        match &self.value {
            Value::Scalar(scalar) => Some(&scalar.data),
            _ => None,
        }
    }

    /// The items of a list.
    pub fn as_sequence(&self) -> Option<&[Self]> {
        match &self.value {
            Value::Sequence(items) => Some(items),
            _ => None,
        }
    }

    /// The entries of a mapping, in the order of the file.
    pub fn as_mapping(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Mapping(entries) => Some(entries),
            _ => None,
        }
    }

    /// True for null and for nothing at all.
    pub fn is_null(&self) -> bool {
        self.data() == Some(&Data::Null)
    }

    /// The value of a key, when this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.as_mapping()?.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// What this is, in a word, for messages.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
            Value::Scalar(scalar) => scalar.data.kind(),
        }
    }

    /// An error at this node.
    pub fn error(&self, message: impl Into<String>) -> YamlError {
        self.spot.error(message)
    }

    /// One error for each key that is not allowed, with the nearest allowed one. A node that is no mapping is an error too.
    pub fn expect_keys(&self, allowed: &[&str]) -> Vec<YamlError> {
        let Some(entries) = self.as_mapping() else {
            return vec![self.error(format!("a mapping is expected here, not {}", self.kind()))];
        };
        entries
            .iter()
            .filter(|entry| !allowed.contains(&entry.key.as_str()))
            .map(|entry| {
                let mut error = entry.spot.error(format!("unknown key `{}`", entry.key));
                error.hint = Some(nearest(&entry.key, allowed));
                error
            })
            .collect()
    }

    /// The value as JSON, typed: not-a-number and infinities become text, large integers their digits.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Scalar(scalar) => scalar.data.to_json(&scalar.raw),
            Value::Sequence(items) => items.iter().map(Self::to_json).collect(),
            Value::Mapping(entries) => {
                entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect()
            }
        }
    }
}

impl Spot {
    /// An error at this place.
    pub fn error(self, message: impl Into<String>) -> YamlError {
        YamlError { message: message.into(), line: self.line, column: self.column, hint: None }
    }
}

/// The hint for an unknown key: the nearest allowed one, or all of them.
fn nearest(wrong: &str, allowed: &[&str]) -> String {
    let near = allowed
        .iter()
        .map(|name| (strsim::damerau_levenshtein(wrong, name), *name))
        .filter(|(distance, name)| *distance <= 1 + wrong.len().max(name.len()) / 3)
        .min();
    match near {
        Some((_, name)) => format!("did you mean `{name}`?"),
        None => format!("known keys: {}", allowed.join(", ")),
    }
}
