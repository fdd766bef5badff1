//! The JSON of a manifest section comes from strangers: it is read or refused with reasons, and what was read is written and read the same.
#![no_main]

use dibw_plan::{Manifest, Phase};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|json: &[u8]| {
    match Manifest::from_json(json) {
        Ok(manifest) => {
            let again = serde_json::to_vec(&manifest).expect("a manifest that was read can be written");
            assert_eq!(Manifest::from_json(&again), Ok(manifest.clone()));
            assert!(manifest.hooks.iter().all(|hook| Phase::from_name(&hook.phase).is_some()));
        }
        Err(faults) => assert!(!faults.to_string().is_empty()),
    }
});
