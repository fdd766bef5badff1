//! What is looked at in a component's bytes before anything is compiled: sections, manifest, imports. `dibw-host` itself would bring
//! wasmtime into every build of the targets, so its one file is taken as it is, with a table of interfaces that stands in.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../runtime/host/src/component.rs"]
mod component;

/// Stands in for the host's table of interfaces.
mod capabilities {
    use dibw_policy::Capability;

    pub(crate) struct Interface {
        pub(crate) capabilities: &'static [Capability],
    }

    static LOG: Interface = Interface { capabilities: &[Capability::Log] };
    static FILES: Interface = Interface { capabilities: &[Capability::TargetRead, Capability::TargetWrite] };

    pub(crate) fn interface_of(import: &str) -> Option<&'static Interface> {
        match import.strip_prefix("dibw:element/")? {
            "types@0.1.0" | "log@0.1.0" => Some(&LOG),
            "target-fs@0.1.0" => Some(&FILES),
            _ => None,
        }
    }
}

/// The interfaces of WASI that the host offers.
mod wasi {
    pub(crate) enum Directories {
        Wanted,
        Unwanted,
    }

    pub(crate) fn offers(import: &str) -> bool {
        import.starts_with("wasi:cli/") || import.starts_with("wasi:filesystem/")
    }
}

fuzz_target!(|bytes: &[u8]| {
    match component::inspect(bytes) {
        Ok(found) => {
            assert_eq!((found.size, found.sha256.len()), (bytes.len(), 64));
            assert_eq!(found.uses_wasi(), found.imports.iter().any(|(name, _)| name.contains("wasi:")));
            assert!(found.uses_wasi() || matches!(found.directories(), wasi::Directories::Unwanted));
            assert!(found.warnings.len() <= found.imports.len());
            assert_eq!(component::read_manifest(bytes).expect("it was read before"), found.manifest);
        }
        Err(error) => assert!(!format!("{error:#}").is_empty()),
    }
});
