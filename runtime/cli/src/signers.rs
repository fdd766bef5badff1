//! Finds out who signed components and policy files: the signatures beside them, and the keys that the policy trusts.
//! What that is worth is the policy's to say. Called by everything that plans.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use dibw_plan::{Catalogue, Fault, FaultKind, Faults};
use dibw_policy::Policy;
use dibw_policy::trust::TrustKind;
use dibw_signature::{KeyId, Kind, PublicKey, SignerId, Statement, Verifier, verify};

use crate::commands::key::{beside, public};
use crate::commands::sign::{SUFFIX, read_signatures};

/// Notes in the catalogue which of the policy's keys signed each component.
///
/// # Errors
/// Keys and signature files that can't be read, and signatures of trusted keys that do not hold.
pub fn note(catalogue: &mut Catalogue, policy: &Policy) -> Result<(), Faults> {
    let mut faults = Faults::default();
    let keys = faults.take(trusted(policy)).unwrap_or_default();
    if keys.is_empty() {
        return faults.or(());
    }
    let verifiers: Vec<&dyn Verifier> = keys.values().map(|(_, key)| -> &dyn Verifier { key }).collect();
    for typed in catalogue.elements.values_mut().filter_map(|element| element.typed.as_mut()) {
        let component = PathBuf::from(&typed.component);
        let Some(Some(signatures)) =
            faults.take(read_signatures(&beside(&component, SUFFIX)).map_err(Faults::from))
        else {
            continue;
        };
        // The digest is of the bytes that were read for the plan, and the engine runs no others.
        let found = verify(&Statement::of_digest(Kind::Element, &typed.digest), &signatures, &verifiers);
        for problem in found.problems {
            faults.push(Fault::new(FaultKind::Policy, format!("{}: {problem}", component.display())));
        }
        let name = |signer: &SignerId| match signer {
            SignerId::Key(id) => keys.get(id).map(|(name, _)| name.clone()),
        };
        typed.signers = found.signers.iter().filter_map(name).collect();
    }
    faults.or(())
}

/// The keys of the policy's trust with their names. One key under two names would count twice, so that is refused.
fn trusted(policy: &Policy) -> Result<BTreeMap<KeyId, (String, PublicKey)>, Faults> {
    let mut faults = Faults::default();
    let mut keys: BTreeMap<KeyId, (String, PublicKey)> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (file, trust) in policy.files().filter_map(|file| Some((file, file.trust.as_ref()?))) {
        for entry in &trust.any_of {
            let TrustKind::Key { name, path } = &entry.kind else { continue };
            if !seen.insert((name, path)) {
                continue;
            }
            let Some(key) = faults.take(public(Path::new(path)).map_err(Faults::from)) else { continue };
            match keys.get(key.id()) {
                Some((known, _)) if known != name => {
                    let message = format!("`{name}` is the same key as `{known}`");
                    faults.push(Fault::new(FaultKind::Config, message).at(file.file.clone(), entry.line, 0));
                }
                Some(_) | None => drop(keys.insert(key.id().clone(), (name.clone(), key))),
            }
        }
    }
    faults.or(keys)
}
