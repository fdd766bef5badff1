//! What a policy file refuses whatever is granted, and in audit mode too: its `never` section.
//!
//! Callers: [`crate::effective`], [`crate::confinement`].

use serde::{Deserialize, Serialize};

use crate::address::AddressClass;
use crate::capability::{Capability, ValueKind};
use crate::glob::{Extent, PathGlob};
use crate::need::Need;
use crate::requirement::Requirement;

/// One entry of a `never` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeverRule {
    /// What is refused.
    pub what: Never,
    /// The policy file.
    pub file: String,
    /// Line in it, from 1.
    pub line: usize,
}

/// What a `never` entry refuses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Never {
    /// All uses of a capability.
    All(String),
    /// What the pattern covers, wholly or in part.
    Matching(Need),
    /// Downloads from addresses of this class.
    Addresses(String),
    /// The level `host` for classic hooks.
    ClassicHost,
}

impl NeverRule {
    /// Whether the requirement is refused.
    pub(crate) fn refuses(&self, requirement: &Requirement) -> bool {
        match &self.what {
            Never::ClassicHost => false,
            Never::Addresses(class) => {
                requirement.capability == Capability::NetAddress
                    && requirement.words.iter().any(|word| {
                        word.parse().is_ok_and(|address| AddressClass::of(address).name() == class)
                    })
            }
            Never::All(capability) => requirement.capability.name() == capability,
            Never::Matching(need) => {
                need.capability() == requirement.capability
                    && (need.covers(&requirement.words, requirement.extent)
                        || reaches_into(need, requirement))
            }
        }
    }

    /// As it is written.
    pub fn shown(&self) -> String {
        match &self.what {
            Never::All(capability) => format!("{capability} *"),
            Never::Matching(need) => need.to_string(),
            Never::Addresses(class) => format!("net.fetch to {class} addresses"),
            Never::ClassicHost => "classic host".to_owned(),
        }
    }
}

/// A tree that is moved or removed is refused when anything in it is.
fn reaches_into(need: &Need, requirement: &Requirement) -> bool {
    let is_path = matches!(need.capability().value_kind(), ValueKind::Path);
    match (requirement.extent, requirement.words.as_slice(), is_path) {
        (Extent::Tree, [path], true) => PathGlob::parse(need.value())
            .is_ok_and(|glob| glob.covers(path, Extent::Entry) || glob.reaches_below(path)),
        (Extent::Tree | Extent::Directory | Extent::Entry, _, _) => false,
    }
}

/// An entry for all uses of `capability`.
pub(crate) fn all_of(capability: Capability) -> Never {
    Never::All(capability.name().to_owned())
}
