//! Reads what each element of the build brings: package requests and maps, service maps, configuration and rights of its component.
//! Called by `planner::plan` only.

use std::collections::BTreeMap;

use dibw_policy::{Admission, Effective, Grant, Policy, admit};

use crate::config;
use crate::element::{Element, Typed};
use crate::fault::{Fault, FaultKind, Faults};
use crate::packages::{PackageMap, PackageRequest, ServiceMap, parse_installs, parse_list};
use crate::plan::{Component, PlannedElement};
use crate::request::Request;

/// What the elements bring, read and checked.
#[derive(Default)]
pub(super) struct Members {
    /// The elements as the plan has them.
    pub planned: Vec<PlannedElement>,
    /// Their package requests, in the order of the elements.
    pub requests: Vec<PackageRequest>,
    /// Their service maps, by element.
    pub services: BTreeMap<String, ServiceMap>,
}

/// Reads all elements; what is wrong with one does not keep the others from being read.
pub(super) fn read(
    request: &Request,
    elements: &[&Element],
    policy: &Policy,
    grants: &[Grant],
    faults: &mut Faults,
) -> Members {
    let mut members = Members::default();
    for element in elements {
        for (phase, list) in &element.package_lists {
            members.requests.extend(parse_list(&element.name, list, *phase));
        }
        if let Some(source) = &element.package_installs {
            let requests = faults.take(parse_installs(&element.name, source, &request.arch));
            members.requests.extend(requests.unwrap_or_default());
        }
        if let Some(map) = element.svc_map.as_ref().and_then(|source| faults.take(ServiceMap::parse(source)))
        {
            faults.take(check_services(&members.services, &element.name, &map));
            members.services.insert(element.name.clone(), map);
        }
        let pkg_map = element.pkg_map.as_ref().and_then(|source| faults.take(PackageMap::parse(source)));
        let typed = element.typed.as_ref();
        let component =
            typed.and_then(|typed| faults.take(component(request, element, typed, policy, grants)));
        members.planned.push(PlannedElement {
            name: element.name.clone(),
            path: element.path.clone(),
            digest: element.digest.clone(),
            component,
            pkg_map,
            host_tools: element.host_tools.clone(),
        });
    }
    faults.take(check_grants(policy, grants, elements));
    members
}

/// A service is mapped by one element only.
fn check_services(known: &BTreeMap<String, ServiceMap>, name: &str, map: &ServiceMap) -> Result<(), Faults> {
    let mut faults = Faults::default();
    for service in map.services() {
        let owner = known.iter().find(|(_, other)| other.services().any(|other| other == service));
        if let Some((owner, _)) = owner {
            let message = format!(
                "{service} already found in services list. Check {name} for duplicate service name (`{owner}` has it too)."
            );
            faults.push(Fault::new(FaultKind::Element, message));
        }
    }
    faults.or(())
}

fn component(
    request: &Request,
    element: &Element,
    typed: &Typed,
    policy: &Policy,
    grants: &[Grant],
) -> Result<Component, Faults> {
    let mut faults = Faults::default();
    let none = BTreeMap::new();
    let settings = request.settings.get(&element.name).unwrap_or(&none);
    let merged = config::merge(&element.name, &typed.manifest.config_schema, settings, &request.variables);
    let config = faults.take(merged).unwrap_or_default();
    let identity = element.identity();
    if let Admission::Refused { rule, hint } = admit(&identity, policy) {
        let message = format!("{} may not take part: {rule}", element.name);
        faults.push(Fault::new(FaultKind::Policy, message).hint(hint));
    }
    let effective = Effective::new(&identity, &typed.manifest.needs, policy, grants);
    for denial in effective.refused_needs() {
        let message = format!(
            "{} may not have {} {}: {}",
            element.name, denial.capability, denial.subject, denial.rule
        );
        faults.push(Fault::new(FaultKind::Policy, message).hint(denial.hint));
    }
    faults.or(Component { path: typed.component.clone(), digest: typed.digest.clone(), config, effective })
}

/// Where a site's policy decides, the command line grants nothing. A grant for an element that does not take part is a typing error.
fn check_grants(policy: &Policy, grants: &[Grant], elements: &[&Element]) -> Result<(), Faults> {
    let mut faults = Faults::default();
    for (message, hint) in grants.iter().filter_map(|grant| policy.refuse_grant(grant)) {
        faults.push(Fault::new(FaultKind::Policy, message).hint(hint));
    }
    let typed: Vec<&str> = elements
        .iter()
        .filter(|element| element.typed.is_some())
        .map(|element| element.name.as_str())
        .collect();
    for grant in grants.iter().filter(|grant| !typed.contains(&grant.element.as_str())) {
        let message = format!("--grant {grant}: `{}` is not a typed element of this image", grant.element);
        faults.push(Fault::new(FaultKind::Usage, message).suggest(&grant.element, typed.iter().copied()));
    }
    faults.or(())
}
