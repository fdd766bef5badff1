//! Core module to component, in process: what `dibw plugin build` does after cargo.
//!
//! Callers: `dibw plugin build`, tests.

use anyhow::{Context, Result};
use wasmparser::{Parser, Payload};
use wit_component::ComponentEncoder;

use crate::component::MANIFEST_SECTION;

/// Makes a component of a core module that was built for wasm32-unknown-unknown with the SDK (whose types are in a custom
/// section of the module), and puts the manifest where it is found without looking into the module.
///
/// # Errors
/// The module is broken, was not built with the SDK, or imports something that is no interface.
pub fn componentize(core_module: &[u8]) -> Result<Vec<u8>> {
    let manifest = section(core_module)?;
    let mut component = ComponentEncoder::default()
        .module(core_module)
        .context("the module was not built with dibw-sdk")?
        .validate(true)
        .encode()
        .context("the module cannot be made a component; does it use std::fs, threads or another library that calls the system?")?;
    if let Some(manifest) = manifest {
        append_custom_section(&mut component, MANIFEST_SECTION, manifest);
    }
    Ok(component)
}

fn section(core_module: &[u8]) -> Result<Option<&[u8]>> {
    for payload in Parser::new(0).parse_all(core_module) {
        if let Payload::CustomSection(section) = payload.context("not a WebAssembly module")?
            && section.name() == MANIFEST_SECTION
        {
            return Ok(Some(section.data()));
        }
    }
    Ok(None)
}

/// A custom section: id 0, size, name length, name, data (binary format of WebAssembly, section 5.5.3).
fn append_custom_section(wasm: &mut Vec<u8>, name: &str, data: &[u8]) {
    let mut body = Vec::with_capacity(name.len() + data.len() + 5);
    append_leb128(&mut body, name.len());
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(data);
    wasm.push(0);
    append_leb128(wasm, body.len());
    wasm.extend_from_slice(&body);
}

fn append_leb128(bytes: &mut Vec<u8>, mut number: usize) {
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}
