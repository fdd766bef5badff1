//! From a Request to the Plan: every decision of a build is taken here, and every problem that can be known before the machine is
//! touched is found here, all at once. Pure. Called by the command line; the engine executes what comes out.

mod checks;
mod disk;
mod members;
mod steps;
mod variables;

use std::collections::BTreeMap;

use dibw_policy::lock::Present;
use dibw_policy::{Grant, Identity, Policy};

use crate::element::{Catalogue, Element};
use crate::fault::Faults;
use crate::packages::PackageMap;
use crate::plan::Plan;
use crate::request::Request;
use crate::resolve;
use crate::rules::Rules;

/// Version of the plan's format.
const FORMAT: u32 = 1;

/// The plan for `request` with the elements of `catalogue`, under `policy` and the grants of the command line.
///
/// # Errors
/// All problems at once: elements, output types, files of elements, settings, layout, policy.
pub fn plan(
    request: &Request,
    catalogue: &Catalogue,
    policy: &Policy,
    grants: &[Grant],
) -> Result<Plan, Faults> {
    let mut faults = Faults::default();

    // 1. What comes out. An unknown type is found first because it costs nothing.
    let types = faults.take(checks::output_types(request)).unwrap_or_default();
    faults.take(checks::may_emit(&types, policy));
    faults.take(checks::architecture(request));
    let (docker_target, push) = faults.take(checks::container_names(request, &types)).unwrap_or_default();

    // 2. Which elements. When that fails, what the user named is still checked.
    let assembled = resolve::assemble(request, catalogue);
    let names =
        faults.take(resolve::expand(&assembled, catalogue)).unwrap_or_else(|| known(&assembled, catalogue));
    let elements: Vec<&Element> = names.iter().filter_map(|name| catalogue.elements.get(name)).collect();

    // 3. What the elements hold, and whether it goes together.
    faults.take(checks::merged_entries(&elements));
    faults.take(checks::setting_owners(request, &elements));
    let members = members::read(request, &elements, policy, grants, &mut faults);

    // 4. The disk. Its facts (labels, mount points) are variables even when only the tree is wanted.
    let disk = disk::choose(request, &elements, &members.planned, &mut faults);
    let variables = variables::known_before_the_build(request, &elements, disk.as_ref());
    let disk = disk.filter(|_| request.classic || types.iter().any(|kind| kind.is_disk()));
    faults.0.extend(disk.iter().flat_map(|disk| disk::check(disk).0));

    // 5. The steps.
    let identities = elements.iter().map(|element| element.identity());
    let rules = faults.take(Rules::of(policy, identities)).unwrap_or_default();
    let build =
        steps::Build { request, elements: &elements, members: &members, rules: &rules, disk: disk.is_some() };
    let types = checks::written_types(request, &elements, &types);
    let steps = steps::all(&build, &types, &mut faults);

    faults.or(Plan {
        version: FORMAT,
        output: checks::output_prefix(request),
        types,
        checksums: request.checksums.clone(),
        overwrite: request.overwrite,
        arch: request.arch.clone(),
        offline: request.offline,
        refresh: request.refresh,
        source_date_epoch: request.source_date_epoch,
        classic: request.classic,
        ramdisk: request.ramdisk,
        qcow2_compression: request.qcow2_compression,
        qemu_img_options: request.qemu_img_options.clone().filter(|options| !options.trim().is_empty()),
        gzip: checks::gzip(request),
        docker_target,
        push,
        aci_manifest: request.aci_manifest.as_ref().map(|manifest| manifest.text.clone()),
        elements: members.planned,
        rules,
        variables,
        disk,
        steps,
    })
}

/// The named elements that exist, once each.
fn known(names: &[String], catalogue: &Catalogue) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for name in names {
        if catalogue.elements.contains_key(name) && !found.contains(name) {
            found.push(name.clone());
        }
    }
    found
}

impl Plan {
    /// Its elements as a lock compares them.
    pub fn present(&self) -> Vec<Present> {
        let present = |element: &crate::plan::PlannedElement| match &element.component {
            Some(component) => Present {
                identity: component.effective.identity().clone(),
                needs: component.effective.needs().to_vec(),
            },
            None => Present {
                identity: Identity { tree: Some(element.digest.clone()), ..Identity::named(&element.name) },
                needs: Vec::new(),
            },
        };
        self.elements.iter().map(present).collect()
    }

    /// The package maps of its elements, as [`crate::packages::resolve_transaction`] takes them.
    pub fn package_maps(&self) -> BTreeMap<String, PackageMap> {
        let maps =
            self.elements.iter().filter_map(|element| Some((element.name.clone(), element.pkg_map.clone()?)));
        maps.collect()
    }
}
