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

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(what: Never) -> NeverRule {
        NeverRule { what, file: "p.yaml".to_owned(), line: 3 }
    }

    fn matching(capability: &str, value: &str) -> NeverRule {
        rule(Never::Matching(Need::new(capability.parse().unwrap(), value).unwrap()))
    }

    fn refuses(rule: &NeverRule, capability: Capability, words: &[&str], extent: Extent) -> bool {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        rule.refuses(&Requirement { capability, words, extent })
    }

    #[test]
    fn paths_and_the_trees_that_hold_them() {
        let shadow = matching("target.write", "/etc/shadow*");
        for (path, extent, expected) in [
            ("/etc/shadow", Extent::Entry, true),
            ("/etc/shadow-", Extent::Tree, true),
            ("/etc/passwd", Extent::Entry, false),
            ("/etc", Extent::Tree, true),
            ("/", Extent::Tree, true),
            ("/opt", Extent::Tree, false),
            ("/etc", Extent::Entry, false),
            ("/etc", Extent::Directory, false),
        ] {
            assert_eq!(
                refuses(&shadow, Capability::TargetWrite, &[path], extent),
                expected,
                "{path} {extent:?}"
            );
        }
        assert!(!refuses(&shadow, Capability::TargetRead, &["/etc/shadow"], Extent::Entry));
        let tree = matching("target.write", "/etc/**");
        assert!(refuses(&tree, Capability::TargetWrite, &["/etc/ssh"], Extent::Tree));
        assert!(refuses(&tree, Capability::TargetWrite, &["/etc/a/b"], Extent::Entry));
    }

    #[test]
    fn whole_capabilities_addresses_and_names() {
        let inputs = rule(all_of(Capability::HostInput));
        assert!(refuses(&inputs, Capability::HostInput, &["ca"], Extent::Entry));
        assert!(!refuses(&inputs, Capability::HostEnv, &["ca"], Extent::Entry));
        let private = rule(Never::Addresses("private".to_owned()));
        assert!(refuses(&private, Capability::NetAddress, &["10.0.0.1"], Extent::Entry));
        assert!(!refuses(&private, Capability::NetAddress, &["127.0.0.1"], Extent::Entry));
        assert!(!refuses(&private, Capability::HostInput, &["10.0.0.1"], Extent::Entry));
        let sudo = matching("user.privileged", "sudo");
        assert!(refuses(&sudo, Capability::UserPrivileged, &["sudo"], Extent::Tree));
        assert!(!refuses(&sudo, Capability::UserPrivileged, &["adm"], Extent::Tree));
        assert!(!refuses(&rule(Never::ClassicHost), Capability::HostInput, &["x"], Extent::Entry));
    }

    #[test]
    fn how_entries_are_shown() {
        for (found, expected) in [
            (rule(all_of(Capability::HostInput)), "host.input *"),
            (matching("target.write", "/a"), "target.write /a"),
            (rule(Never::Addresses("private".to_owned())), "net.fetch to private addresses"),
            (rule(Never::ClassicHost), "classic host"),
        ] {
            assert_eq!(found.shown(), expected);
        }
    }
}
