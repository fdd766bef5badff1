//! Whose components may take part at all: the `trust` section of policy files, and the function that admits.
//!
//! Must not know: how signatures are verified; the names of verified signers come in the [`Identity`].
//! Callers: the plan (before anything runs), `dibw policy explain`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::identity::{Identity, quoted};
use crate::policy::{Layer, Policy};

/// The `trust` section of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Any one of these admits a component.
    pub any_of: Vec<TrustEntry>,
    /// How many signers must be found, counted by key; none: one.
    pub distinct_signers: Option<usize>,
    /// Line in the policy file, from 1.
    pub line: usize,
}

/// One way to be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustEntry {
    /// What is accepted.
    pub kind: TrustKind,
    /// Line in the policy file, from 1.
    pub line: usize,
}

/// What a trust entry accepts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TrustKind {
    /// Components signed with this key.
    Key {
        /// What grants call it as `publisher`: `name`, or the file's name without `.pub`.
        name: String,
        /// The file of the public key.
        path: String,
    },
    /// Components signed without a key through an identity provider. Never satisfied by this version: it needs sigstore's servers.
    Keyless {
        /// Who vouches for the signer.
        issuer: String,
        /// Who signs.
        subject: String,
    },
    /// Any component.
    Unsigned {
        /// Why that is right here.
        reason: String,
    },
}

/// Whether a component may take part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may; the rule says why.
    Admitted {
        /// Why.
        rule: String,
    },
    /// It may not.
    Refused {
        /// Why not, in one sentence.
        rule: String,
        /// What would admit it.
        hint: String,
    },
}

/// Whether `identity` may take part: every layer of the policy that speaks of trust must accept it.
pub fn admit(identity: &Identity, policy: &Policy) -> Admission {
    let mut rules = Vec::new();
    for layer in policy.layers() {
        match admitted_by(identity, layer) {
            Admission::Admitted { rule } => rules.push(rule),
            refused @ Admission::Refused { .. } => return refused,
        }
    }
    rules.retain(|rule| !rule.is_empty());
    let rule = if rules.is_empty() { "no policy asks for signatures".to_owned() } else { rules.join("; ") };
    Admission::Admitted { rule }
}

/// Entries of all files of a layer count; the greatest number of signers that a file asks for is asked for.
fn admitted_by(identity: &Identity, layer: &Layer) -> Admission {
    let sections = || layer.files().iter().filter_map(|file| Some((file, file.trust.as_ref()?)));
    if sections().next().is_none() {
        return Admission::Admitted { rule: String::new() };
    }
    let demanded = sections().filter_map(|(_, trust)| trust.distinct_signers).max();
    let mut keys: BTreeSet<&str> = BTreeSet::new();
    let mut found = Vec::new();
    for (file, trust) in sections() {
        for entry in &trust.any_of {
            match &entry.kind {
                TrustKind::Unsigned { reason } if demanded.is_none() => {
                    let rule =
                        format!("unsigned elements are accepted ({reason}) by {}:{}", file.file, entry.line);
                    return Admission::Admitted { rule };
                }
                TrustKind::Key { name, path } if identity.signers.contains(name) => {
                    if keys.insert(path) {
                        found.push(format!("signed by {name} ({}:{})", file.file, entry.line));
                    }
                }
                TrustKind::Unsigned { .. } | TrustKind::Keyless { .. } | TrustKind::Key { .. } => {}
            }
        }
    }
    let wanted = demanded.unwrap_or(1).max(1);
    if keys.len() >= wanted {
        return Admission::Admitted { rule: found.join(", ") };
    }
    refused(identity, layer, wanted, keys.len())
}

fn refused(identity: &Identity, layer: &Layer, wanted: usize, found: usize) -> Admission {
    let names: Vec<String> = layer.key_names().iter().map(|name| format!("`{name}`")).collect();
    let rule = format!(
        "{} asks for {wanted} of its keys to have signed {}, and {} did",
        layer.label(),
        identity.shown(),
        if found == 0 { "none".to_owned() } else { found.to_string() }
    );
    let hint = match names.as_slice() {
        [] => format!("in trust.elements.any_of add {{kind: key, name: {}, key: PATH}}", quoted("publisher")),
        names => {
            format!("have it signed by {}: dibw sign --key KEY {}.wasm", names.join(" or "), identity.id)
        }
    };
    Admission::Refused { rule, hint }
}

impl Trust {
    /// What grants may name as `publisher`.
    pub(crate) fn key_names(&self) -> impl Iterator<Item = &str> {
        self.any_of.iter().filter_map(|entry| match &entry.kind {
            TrustKind::Key { name, .. } => Some(name.as_str()),
            TrustKind::Keyless { .. } | TrustKind::Unsigned { .. } => None,
        })
    }
}

#[cfg(test)]
mod tests;
