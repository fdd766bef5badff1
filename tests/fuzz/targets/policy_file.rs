//! Policy files are written by people and read as root: any text gives a policy or faults with lines, and never a panic.
#![no_main]

use dibw_policy::file::parse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(faults) = parse("policy.yaml", text, "2026-11-21") {
        assert!(!faults.is_empty(), "refused without a reason");
        let lines = text.split(['\n', '\r']).count() + 1;
        assert!(faults.iter().all(|fault| fault.line <= lines), "{faults:?}");
    }
});
