//! What is refused before a line of a component runs, and what can be read from it.
#![expect(clippy::unwrap_used, reason = "a test that cannot make its guest fails")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use dibw_host::{Host, LoadedElement, inspect, read_manifest};
use support::{component, component_in, custom_section, manifest, module};
use wit_parser::Resolve;

fn refusal(bytes: &[u8]) -> String {
    match Host::without_cache().unwrap().load(bytes).map(|loaded: LoadedElement| loaded.manifest().id.clone())
    {
        Ok(id) => panic!("{id} was loaded"),
        Err(error) => format!("{error:#}"),
    }
}

#[test]
fn an_inspection_reads_manifest_and_imports() {
    let body = "(call $write (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1024)) (i32.const 1024)";
    let bytes = component(&module("", "", body), Some(&manifest(&["packages.install curl"])));
    let found = inspect(&bytes).unwrap();
    assert_eq!(found.manifest.id, "guest");
    let imports: Vec<String> =
        found.imports.iter().map(|(name, functions)| format!("{name} {}", functions.join(" "))).collect();
    assert_eq!(
        imports,
        [
            "dibw:element/log@0.1.0 write panicked",
            "dibw:element/config@0.1.0 get",
            "dibw:element/types@0.1.0 ",
            "dibw:element/target-fs@0.1.0 read write",
        ]
    );
    assert_eq!(
        found.warnings,
        [
            "imports dibw:element/target-fs@0.1.0 but its needs name none of target.read, target.write, target.write_privileged"
        ]
    );
    assert_eq!((found.size, found.sha256.len()), (bytes.len(), 64));
    assert_eq!(read_manifest(&bytes).unwrap(), found.manifest);
}

#[test]
fn what_is_no_element_is_refused_in_words() {
    let text = module("", "", "(i32.const 0)");
    let plain = component(&text, None);
    assert_eq!(
        refusal(&plain),
        "the component has no `dibw:manifest` section: it is not an element\n  hint: end the element's source with `element!(...)` of dibw-sdk"
    );
    let newer = component(&text, Some(r#"{"id":"motd","api":"0.3"}"#));
    assert_eq!(
        refusal(&newer),
        "error: motd needs dibw:element 0.3, this dibw speaks 0.1\n  hint: upgrade dibw, or build motd with an SDK for 0.1"
    );
    assert_eq!(
        refusal(&wat::parse_str(&text).unwrap()),
        "this is a WebAssembly core module, not a component\n  hint: `dibw plugin build` makes components"
    );
    assert!(
        refusal(b"#!/bin/sh\n").starts_with("not a WebAssembly component: "),
        "{}",
        refusal(b"#!/bin/sh\n")
    );
    assert!(
        refusal(b"").starts_with("not a WebAssembly component: ")
            || refusal(b"").contains("no `dibw:manifest`")
    );
    let mut huge = plain.clone();
    custom_section(&mut huge, "dibw:manifest", &vec![b' '; 300_000]);
    assert_eq!(refusal(&huge), "the manifest has 300000 bytes, more than 262144");
    for cut in [10, plain.len() / 2, plain.len() - 3] {
        assert!(!refusal(&plain[..cut]).is_empty());
    }
}

#[test]
fn an_import_that_is_not_ours_is_named() {
    let mut resolve = Resolve::default();
    let wit = "package evil:machine@1.0.0; interface shell { run: func(); } world w { import shell; export go: func(); }";
    let package = resolve.push_str("evil.wit", wit).unwrap();
    let text = r#"(module (import "evil:machine/shell@1.0.0" "run" (func $run)) (memory (export "memory") 1) (func (export "go") (call $run)))"#;
    let bytes = component_in(resolve, package, "w", text, Some(&manifest(&[])));
    assert_eq!(
        refusal(&bytes),
        "element guest imports evil:machine/shell@1.0.0, which dibw does not offer\n  hint: build it for wasm32-unknown-unknown with `dibw plugin build`; of WASI 0.2 there are files, clocks, random numbers and output, and no network"
    );
}

#[test]
fn a_component_without_the_lifecycle_does_not_fit() {
    let mut resolve = Resolve::default();
    let package =
        resolve.push_str("other.wit", "package other:thing@1.0.0; world w { export go: func(); }").unwrap();
    let text = r#"(module (memory (export "memory") 1) (func (export "go")))"#;
    let bytes = component_in(resolve, package, "w", text, Some(&manifest(&[])));
    assert!(
        refusal(&bytes).starts_with("element guest does not fit the contract dibw:element 0.1: "),
        "{}",
        refusal(&bytes)
    );
}

#[test]
fn compiled_code_is_kept_in_a_private_directory_only() {
    let scratch = tempfile::tempdir().unwrap();
    let cache = scratch.path().join("cache");
    let bytes = component(&module("", "", "(i32.const 0)"), Some(&manifest(&[])));
    for _ in 0..2 {
        Host::new(&cache).unwrap().load(&bytes).unwrap();
    }
    assert_eq!(fs::metadata(&cache).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(fs::read_dir(&cache).unwrap().count() > 0);

    fs::set_permissions(&cache, fs::Permissions::from_mode(0o755)).unwrap();
    let said = Host::new(&cache).map(|_| ()).unwrap_err().to_string();
    assert!(said.contains("must be a directory of user"), "{said}");
    assert!(Host::new(std::path::Path::new("cache")).is_err(), "a relative path");
}
