//! The contract as Rust, generated from `sdk/wit`.

#![expect(missing_docs, reason = "generated; the contract documents itself")]

wasmtime::component::bindgen!({
    path: "../../sdk/wit/v0.1",
    world: "element",
    imports: { default: trappable },
    additional_derives: [PartialEq],
});
