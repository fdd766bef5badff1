//! What a step's layer is made from, as texts with names: their digest is the layer's key, and what differs from an earlier build's is
//! the reason that the step runs again. Called by [`crate::layers`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::catalogue::hex;

/// The name of the input that stands for all steps before.
pub const BEFORE: &str = "before";

/// Longest value of a variable that is shown, in characters.
const SHOWN: usize = 60;

/// Texts by name: `var NAME`, `files bin`, `script`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inputs(BTreeMap<String, String>);

impl Inputs {
    /// Adds one.
    pub fn add(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.insert(name.into(), value.into());
    }

    /// Adds a variable. The value of one that is named like a secret is digested.
    pub fn add_variable(&mut self, name: &str, value: &str) {
        let value = match is_secret(name) {
            true => format!("sha256:{}", digest(value.as_bytes())),
            false => value.to_owned(),
        };
        self.add(format!("var {name}"), value);
    }

    /// SHA-256 over all of them.
    pub fn key(&self) -> String {
        self.key_of(|_| true)
    }

    /// The same without the steps before: for a step of which is known what it has read.
    pub fn loose_key(&self) -> String {
        self.key_of(|name| name != BEFORE)
    }

    fn key_of(&self, counts: impl Fn(&str) -> bool) -> String {
        let mut digest = Sha256::new();
        for (name, value) in self.0.iter().filter(|(name, _)| counts(name)) {
            for text in [name, value] {
                digest.update((text.len() as u64).to_le_bytes());
                digest.update(text);
            }
        }
        hex(&digest.finalize())
    }

    /// Whether the steps before are the same as for `old`.
    pub fn same_before(&self, old: &Self) -> bool {
        self.0.get(BEFORE) == old.0.get(BEFORE)
    }

    /// What is different from `old`, in a few words; none when nothing is, or only the steps before.
    pub fn difference(&self, old: &Self) -> Option<String> {
        let names = self.0.keys().chain(old.0.keys().filter(|name| !self.0.contains_key(*name)));
        let mut changes: Vec<String> = names
            .filter(|name| *name != BEFORE && self.0.get(*name) != old.0.get(*name))
            .map(|name| change(name, old.0.get(name), self.0.get(name)))
            .collect();
        changes.sort();
        let more = changes.len().saturating_sub(2);
        changes.truncate(2);
        if more > 0 {
            changes.push(format!("and {more} more"));
        }
        (!changes.is_empty()).then(|| changes.join(", "))
    }
}

fn change(name: &str, old: Option<&String>, new: Option<&String>) -> String {
    let Some(variable) = name.strip_prefix("var ") else { return format!("{name} changed") };
    match (old, new) {
        (None, _) => format!("{variable} is new"),
        (_, None) => format!("{variable} is gone"),
        (Some(old), Some(new)) if is_secret(variable) || is_long(old) || is_long(new) => {
            format!("{variable} changed")
        }
        (Some(old), Some(new)) => format!("{variable} changed from {} to {}", quoted(old), quoted(new)),
    }
}

fn quoted(value: &str) -> String {
    if value.is_empty() { "nothing".to_owned() } else { value.to_owned() }
}

fn is_long(value: &str) -> bool {
    value.chars().count() > SHOWN || value.contains('\n')
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    ["PASSW", "SECRET", "TOKEN", "PRIVATE", "CREDENTIAL"].iter().any(|part| name.contains(part))
}

/// SHA-256, hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(pairs: &[(&str, &str)]) -> Inputs {
        let mut inputs = Inputs::default();
        for (name, value) in pairs {
            match name.strip_prefix("var ") {
                Some(variable) => inputs.add_variable(variable, value),
                None => inputs.add(*name, *value),
            }
        }
        inputs
    }

    #[test]
    fn the_reason_says_what_changed() {
        let old = inputs(&[
            ("script", "1"),
            ("var DIB_RELEASE", "bookworm"),
            ("var MY_PASSWORD", "a"),
            (BEFORE, "x"),
        ]);
        for (changed, expected) in [
            (vec![("script", "2")], Some("script changed")),
            (vec![("var DIB_RELEASE", "trixie")], Some("DIB_RELEASE changed from bookworm to trixie")),
            (vec![("var DIB_RELEASE", "")], Some("DIB_RELEASE changed from bookworm to nothing")),
            (vec![("var MY_PASSWORD", "b")], Some("MY_PASSWORD changed")),
            (vec![("var NEW", "b")], Some("NEW is new")),
            (vec![(BEFORE, "y")], None),
            (vec![], None),
        ] {
            let mut new = old.clone();
            new.0.extend(inputs(&changed).0);
            assert_eq!(new.difference(&old).as_deref(), expected);
            assert_eq!(new.key() == old.key(), changed.is_empty());
        }
        assert_eq!(inputs(&[]).difference(&inputs(&[("var A", "1")])).as_deref(), Some("A is gone"));
    }

    #[test]
    fn names_and_values_do_not_run_into_each_other() {
        assert_ne!(inputs(&[("a", "bc")]).key(), inputs(&[("ab", "c")]).key());
    }
}
