//! The contract as Rust, generated from `sdk/wit`. Private: nothing outside this crate sees WIT types.

wasmtime::component::bindgen!({
    path: "../../sdk/wit/v0.1",
    world: "element",
    imports: { default: trappable },
    additional_derives: [PartialEq],
});
