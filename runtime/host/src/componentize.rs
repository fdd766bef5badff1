//! A core module of `wasm32-unknown-unknown` becomes a component: wit-component reads the world that the SDK left in a custom section
//! and keeps only the imports that the module uses. The manifest is lifted to the component's top level, where a reader finds it
//! without looking into nested modules. Must not know cargo, files or the runtime. Called by `plugin_build` and tests.

use anyhow::{Context, Result, bail};
use wasmparser::{Parser, Payload};
use wit_component::{ComponentEncoder, DecodedWasm};

/// The custom section that holds the manifest, in the core module and in the component.
pub const MANIFEST_SECTION: &str = "dibw:manifest";

/// The component that holds `core`, with the manifest as a section of its own.
///
/// # Errors
/// `core` is not a module, has no manifest (`element!` is missing) or exports no `dibw:element` world.
pub fn componentize(core: &[u8]) -> Result<Vec<u8>> {
    let manifest = manifest_of_module(core)?;
    let mut component = ComponentEncoder::default()
        .validate(true)
        .module(core)
        .context("reading the world that the SDK put into the module")?
        .encode()
        .context("making a component of the module")?;
    append_section(&mut component, MANIFEST_SECTION, manifest);
    Ok(component)
}

/// The interfaces that a component imports, as in `dibw:element/log@0.1.0`, in the component's order.
///
/// # Errors
/// `component` is not a component.
pub fn imports(component: &[u8]) -> Result<Vec<String>> {
    let decoded = wit_component::decode(component).context("reading the component's imports")?;
    let DecodedWasm::Component(resolve, world) = decoded else { bail!("this is a WIT package, not a component") };
    Ok(resolve.worlds[world].imports.keys().map(|key| resolve.name_world_key(key)).collect())
}

fn manifest_of_module(core: &[u8]) -> Result<&[u8]> {
    for payload in Parser::new(0).parse_all(core) {
        if let Payload::CustomSection(section) = payload.context("reading the compiled module")?
            && section.name() == MANIFEST_SECTION
        {
            return Ok(section.data());
        }
    }
    bail!("the module has no manifest: `element!(..)` is missing from the crate")
}

/// Section id 0, size, name, data: <https://webassembly.github.io/spec/core/binary/modules.html#custom-section>; components have the same.
fn append_section(wasm: &mut Vec<u8>, name: &str, data: &[u8]) {
    let mut body = Vec::with_capacity(name.len() + data.len() + 5);
    leb128(&mut body, name.len());
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(data);
    wasm.push(0);
    leb128(wasm, body.len());
    wasm.extend_from_slice(&body);
}

fn leb128(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_can_be_read_back() {
        let mut wasm = b"\0asm\x0d\0\x01\0".to_vec();
        let data = vec![b'x'; 300];
        append_section(&mut wasm, "dibw:test", &data);
        let sections: Vec<_> = Parser::new(0)
            .parse_all(&wasm)
            .filter_map(|payload| match payload.unwrap() {
                Payload::CustomSection(section) => Some((section.name().to_owned(), section.data().to_vec())),
                _ => None,
            })
            .collect();
        assert_eq!(sections, [("dibw:test".to_owned(), data)]);
    }

    #[test]
    fn a_module_without_a_manifest_is_refused() {
        let message = componentize(b"\0asm\x01\0\0\0").unwrap_err().to_string();
        assert_eq!(message, "the module has no manifest: `element!(..)` is missing from the crate");
    }
}
