//! `pkg-map`: what a package is called in a distribution. Facts: compat/CONTRACT.md section 6.3.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::distribution::{family, release_names};
use crate::fault::{Fault, FaultKind, Faults};
use crate::request::NamedText;

/// Package to names, separated by blanks; an empty text means "nothing to install here".
type Names = BTreeMap<String, String>;

/// One element's map. What is more specific wins: default < family < distro < release.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageMap {
    /// By distribution, then release.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    release: BTreeMap<String, BTreeMap<String, Names>>,
    /// By distribution.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    distro: BTreeMap<String, Names>,
    /// By family of distributions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    family: BTreeMap<String, Names>,
    /// Everywhere else.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    default: Names,
}

impl PackageMap {
    /// Reads the JSON text of a `pkg-map`.
    ///
    /// # Errors
    /// When it is no such map; with the line.
    pub fn parse(source: &NamedText) -> Result<Self, Faults> {
        serde_json::from_str(&source.text).map_err(|error| {
            let whole = error.to_string();
            let position = format!(" at line {} column {}", error.line(), error.column());
            let message = whole.strip_suffix(&position).unwrap_or(&whole);
            let fault = Fault::new(FaultKind::Element, format!("not a package map: {message}"));
            fault.at(&source.name, error.line().max(1), error.column()).into()
        })
    }

    /// What `package` is called there: itself when the map is silent, nothing when it is left out there.
    pub fn names<'a>(&'a self, package: &'a str, distro: &str, release: &str) -> Vec<&'a str> {
        let by_release = self.release.get(distro);
        let releases = release_names(release).filter_map(|name| by_release.and_then(|map| map.get(name)));
        let layers = [
            Some(&self.default),
            family(distro).and_then(|family| self.family.get(family)),
            self.distro.get(distro),
        ];
        let found =
            layers.into_iter().flatten().chain(releases).filter_map(|names| names.get(package)).last();
        found.map_or(package, String::as_str).split_whitespace().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = r#"{
        "release": {"centos": {"9": {"a": "a-c9"}, "10-stream": {"a": "a-c10s"}}},
        "distro": {"ubuntu": {"a": "a-ubuntu b-ubuntu"}},
        "family": {"redhat": {"a": "a-redhat", "gone": ""}, "suse": {"a": "a-suse"}},
        "default": {"a": "a-default"}
    }"#;

    #[test]
    fn the_most_specific_name_wins() {
        let map = PackageMap::parse(&NamedText { name: "pkg-map".into(), text: MAP.into() }).unwrap();
        for (package, distro, release, expected) in [
            ("a", "debian", "bookworm", vec!["a-default"]),
            ("a", "opensuse", "15.5", vec!["a-suse"]),
            ("a", "rocky", "9", vec!["a-redhat"]),
            ("a", "almalinux", "9", vec!["a-redhat"]),
            ("a", "openeuler", "22.03-LTS", vec!["a-redhat"]),
            ("a", "ubuntu", "noble", vec!["a-ubuntu", "b-ubuntu"]),
            ("a", "centos", "9", vec!["a-c9"]),
            ("a", "centos", "9-stream", vec!["a-c9"]),
            ("a", "centos", "10-stream", vec!["a-c10s"]),
            ("a", "centos", "10", vec!["a-redhat"]),
            ("gone", "fedora", "40", vec![]),
            ("other", "fedora", "40", vec!["other"]),
        ] {
            assert_eq!(map.names(package, distro, release), expected, "{package} {distro} {release}");
        }
    }

    #[test]
    fn a_bad_map_is_told_with_its_line() {
        let text = "{\n  \"default\": {\"a\": 1}\n}".to_owned();
        let faults = PackageMap::parse(&NamedText { name: "x/pkg-map".into(), text }).unwrap_err();
        let told = faults.0[0].to_string();
        assert!(told.starts_with("x/pkg-map:2:") && told.contains("expected a string"), "{told}");
    }
}
