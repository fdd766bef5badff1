//! Core module to component, in process: what `dibw plugin build` does after cargo, and `dibw plugin pack` after another language's compiler.
//!
//! Callers: `dibw plugin build`, `dibw plugin pack`, tests.

use anyhow::{Context, Result};
use dibw_plan::{Fault, FaultKind, Manifest};
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasmparser::{Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::component::{Inspection, MANIFEST_SECTION, inspect};

/// The contract, for modules that do not bring it.
const CONTRACT: &str = include_str!("../../../sdk/wit/v0.1/element.wit");

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

/// Makes an element of what a compiler of another language gave: a core module that exports the functions of the contract by their names
/// (`dibw:element/lifecycle@0.1.0#run`) and may import WASI preview 1, or a component that lacks its manifest only.
///
/// # Errors
/// The manifest is wrong, `wasm` has one already or does not fit the contract, or imports what is not offered.
pub fn pack(wasm: &[u8], manifest_json: &[u8]) -> Result<(Vec<u8>, Inspection)> {
    let manifest = Manifest::from_json(manifest_json)?;
    if section(wasm)?.is_some() {
        let text = format!("{}: the file has a manifest already", manifest.id);
        return Err(Fault::new(FaultKind::Element, text).hint("pack what the compiler gave").into());
    }
    let mut component = if Parser::is_component(wasm) {
        wasm.to_vec()
    } else {
        adapt(wasm).with_context(|| format!("element {}", manifest.id))?
    };
    append_custom_section(&mut component, MANIFEST_SECTION, manifest_json);
    let inspection = inspect(&component)?;
    Ok((component, inspection))
}

/// A component of a core module. Imports of WASI preview 1 are met by wasmtime's adapter, which turns them into those of WASI 0.2.
fn adapt(core_module: &[u8]) -> Result<Vec<u8>> {
    let mut module = core_module.to_vec();
    if !has_custom_section(core_module, "component-type")? {
        let mut resolve = Resolve::default();
        let package = resolve.push_str("element.wit", CONTRACT).context("the contract")?;
        let world = resolve.select_world(&[package], Some("element")).context("the contract")?;
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
            .context("adding the contract")?;
    }
    ComponentEncoder::default()
        .module(&module)
        .and_then(|encoder| {
            encoder.adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER)
        })
        .context("the module cannot be read")?
        .validate(true)
        .encode()
        .context("the module does not fit the contract dibw:element 0.1")
}

fn has_custom_section(core_module: &[u8], prefix: &str) -> Result<bool> {
    for payload in Parser::new(0).parse_all(core_module) {
        if let Payload::CustomSection(section) = payload.context("not a WebAssembly module")?
            && section.name().starts_with(prefix)
        {
            return Ok(true);
        }
    }
    Ok(false)
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
