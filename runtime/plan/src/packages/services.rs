//! `svc-map`: what a service is called in a distribution. Facts: compat/CONTRACT.md section 6.4.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::distribution::family;
use crate::document;
use crate::fault::{FaultKind, Faults};
use crate::request::NamedText;

/// One element's map: service to `default`, a family or a distribution, to the name there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ServiceMap(BTreeMap<String, BTreeMap<String, String>>);

impl ServiceMap {
    /// Reads the YAML text of a `svc-map`.
    ///
    /// # Errors
    /// Everything that is not `service: {where: name}`, with its line.
    pub fn parse(source: &NamedText) -> Result<Self, Faults> {
        let document = document::load(source, FaultKind::Element)?;
        let mut faults = Faults::default();
        let mut services = BTreeMap::new();
        let mut wrong = |spot: dibw_policy::yaml::Spot, message: String| {
            faults.push(document::fault_at(FaultKind::Element, &source.name, spot, message));
        };
        if !document.is_null() && document.as_mapping().is_none() {
            wrong(document.spot, format!("services are expected here, not {}", document.kind()));
        }
        for service in document.as_mapping().unwrap_or_default() {
            let mut names = BTreeMap::new();
            if service.value.as_mapping().is_none() {
                let message = format!(
                    "`{}`: names by distribution are expected here, not {}",
                    service.key,
                    service.value.kind()
                );
                wrong(service.value.spot, message);
            }
            for entry in service.value.as_mapping().unwrap_or_default() {
                match entry.value.as_text() {
                    Some(name) => {
                        names.insert(entry.key.clone(), name.to_owned());
                    }
                    None => wrong(
                        entry.value.spot,
                        format!("a name is expected here, not {}", entry.value.kind()),
                    ),
                }
            }
            services.insert(service.key.clone(), names);
        }
        faults.or(Self(services))
    }

    /// The services it maps.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// What every service is called in `distro`: distro > family > default > its own name. The planner has made sure that no two elements
/// map the same service.
pub fn merge_services(maps: &BTreeMap<String, ServiceMap>, distro: &str) -> BTreeMap<String, String> {
    let services = maps.values().flat_map(|map| &map.0);
    let name = |service: &String, names: &BTreeMap<String, String>| {
        let by_family = || family(distro).and_then(|family| names.get(family));
        names.get(distro).or_else(by_family).or_else(|| names.get("default")).unwrap_or(service).clone()
    };
    services.map(|(service, names)| (service.clone(), name(service, names))).collect()
}

/// The text of `/usr/share/svc-map/services`: one `service: name` a line.
pub fn services_text(services: &BTreeMap<String, String>) -> String {
    services.iter().map(|(service, name)| format!("{service}: {name}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ServiceMap, Faults> {
        ServiceMap::parse(&NamedText { name: "svc-map".into(), text: text.into() })
    }

    #[test]
    fn services_are_named_by_distribution_family_or_default() {
        let text = "ssh:\n  redhat: sshd\n  ubuntu: ssh-u\n  default: ssh-d\nown:\n  suse: other\n";
        let maps = BTreeMap::from([("e".to_owned(), parse(text).unwrap())]);
        for (distro, expected) in [
            ("rocky", "own: own\nssh: sshd\n"),
            ("ubuntu", "own: own\nssh: ssh-u\n"),
            ("debian", "own: own\nssh: ssh-d\n"),
            ("opensuse", "own: other\nssh: ssh-d\n"),
        ] {
            assert_eq!(services_text(&merge_services(&maps, distro)), expected, "{distro}");
        }
    }

    #[test]
    fn another_shape_is_refused_with_its_line() {
        let faults = parse("a: b\nc:\n  debian: [x]\n").unwrap_err();
        let told: Vec<String> = faults.0.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "svc-map:1:4: `a`: names by distribution are expected here, not a string",
                "svc-map:3:11: a name is expected here, not a list",
            ]
        );
    }
}
