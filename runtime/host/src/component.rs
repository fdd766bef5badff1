//! What can be known of a component without running or compiling it: its manifest and its imports.
//!
//! Bytes are untrusted: sizes are bounded, and an import that is none of ours is refused here, by name, rather than by the
//! engine's type checker later.
//! Callers: `dibw element info`, `dibw plugin inspect`, discovery in the engine, [`crate::run`].

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use dibw_plan::{Fault, FaultKind, Manifest};
use sha2::{Digest, Sha256};
use wasmparser::{Encoding, Parser, Payload};
use wit_component::DecodedWasm;

use crate::capabilities::interface_of;
use crate::wasi::{self, Directories};

/// The custom section that holds the manifest.
pub const MANIFEST_SECTION: &str = "dibw:manifest";
/// Largest component taken, in bytes.
pub const LARGEST: usize = 64 * 1024 * 1024;
/// Largest manifest taken, in bytes.
const LARGEST_MANIFEST: usize = 256 * 1024;
/// Most bytes of code in all modules together. A Rust element with all that the SDK has is below 1 MiB; compiling 1 MiB takes about a second.
const LARGEST_CODE: usize = 16 * 1024 * 1024;
/// Most functions in all modules together.
const MOST_FUNCTIONS: u32 = 100_000;
/// Most modules and components inside.
const MOST_PARTS: u32 = 64;

/// What a component says and can do, from its bytes alone.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// What it says of itself.
    pub manifest: Manifest,
    /// What it can call at all: interface and functions.
    pub imports: Vec<(String, Vec<String>)>,
    /// Imports that no need of the manifest covers: calls through them will be refused.
    pub warnings: Vec<String>,
    /// Bytes of the component.
    pub size: usize,
    /// SHA-256 of the component, hexadecimal.
    pub sha256: String,
}

/// Reads the file of a component, no more of it than may be.
///
/// # Errors
/// It can't be read, or is too large.
pub fn read_file(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LARGEST as u64 + 1).read_to_end(&mut bytes));
    read.with_context(|| format!("reading {}", path.display()))?;
    if bytes.len() > LARGEST {
        let text = format!("{} has more than {LARGEST} bytes, which no component may have", path.display());
        return Err(Fault::new(FaultKind::Element, text).into());
    }
    Ok(bytes)
}

/// Reads the manifest of a component, compiling nothing.
///
/// # Errors
/// A [`Fault`] (downcast) when the bytes are no component of ours, or the manifest is missing, too large, for another
/// contract or wrong.
pub fn read_manifest(bytes: &[u8]) -> Result<Manifest> {
    let section = manifest_section(bytes)?;
    let manifest = Manifest::from_json(section)?;
    Ok(manifest)
}

/// Reads manifest and imports, checks the imports, compiles nothing.
///
/// # Errors
/// As [`read_manifest`]; also imports that are not interfaces of this version, all named.
pub fn inspect(bytes: &[u8]) -> Result<Inspection> {
    let manifest = read_manifest(bytes)?;
    check_bounds(bytes).with_context(|| format!("element {}", manifest.id))?;
    let imports = read_imports(bytes)
        .with_context(|| format!("element {}: the component cannot be read", manifest.id))?;
    let foreign: Vec<&str> =
        imports.iter().map(|(name, _)| name.as_str()).filter(|i| !is_offered(i)).collect();
    if !foreign.is_empty() {
        let text =
            format!("element {} imports {}, which dibw does not offer", manifest.id, foreign.join(", "));
        let hint = "build it for wasm32-unknown-unknown with `dibw plugin build`; of WASI 0.2 there are files, clocks, random numbers and output, and no network";
        return Err(Fault::new(FaultKind::Element, text).hint(hint).into());
    }
    let warnings = uncovered(&manifest, &imports);
    let sha256 = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Inspection { manifest, imports, warnings, size: bytes.len(), sha256 })
}

impl Inspection {
    /// Whether it is a component of another language, with files of granted directories as the only thing of the machine.
    pub fn uses_wasi(&self) -> bool {
        self.imports.iter().any(|(import, _)| import.starts_with("wasi:"))
    }

    /// Whether it asks for directories of the target, as most components of other languages do.
    pub(crate) fn directories(&self) -> Directories {
        if self.imports.iter().any(|(import, _)| import.starts_with("wasi:filesystem/preopens@")) {
            Directories::Wanted
        } else {
            Directories::Unwanted
        }
    }
}

fn is_offered(import: &str) -> bool {
    interface_of(import).is_some() || wasi::offers(import)
}

fn uncovered(manifest: &Manifest, imports: &[(String, Vec<String>)]) -> Vec<String> {
    let mut warnings = Vec::new();
    for (import, _) in imports {
        let Some(interface) = interface_of(import).filter(|i| !i.capabilities.is_empty()) else {
            continue;
        };
        let covered = |c: &dibw_policy::Capability| {
            c.always_granted() || manifest.needs.iter().any(|need| need.capability() == *c)
        };
        if !interface.capabilities.iter().any(covered) {
            let names: Vec<&str> = interface.capabilities.iter().map(|c| c.name()).collect();
            warnings.push(format!("imports {import} but its needs name none of {}", names.join(", ")));
        }
    }
    warnings
}

/// The manifest of the component itself, or else of the first module in it (where the SDK's macro puts it).
fn manifest_section(bytes: &[u8]) -> Result<&[u8]> {
    let fault = |text: &str| Fault::new(FaultKind::Element, text);
    if bytes.len() > LARGEST {
        return Err(fault(&format!("the component has {} bytes, more than {LARGEST}", bytes.len())).into());
    }
    if !bytes.starts_with(b"\0asm") {
        return Err(fault("not a WebAssembly component: it does not begin as WebAssembly does").into());
    }
    let mut nested: Option<&[u8]> = None;
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(|wrong| fault(&format!("not a WebAssembly component: {wrong}")))? {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                let hint = "`dibw plugin build` makes components";
                return Err(fault("this is a WebAssembly core module, not a component").hint(hint).into());
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CustomSection(section) if section.name() == MANIFEST_SECTION => {
                if depth == 0 {
                    return bounded(section.data());
                }
                nested = nested.or(Some(section.data()));
            }
            _ => {}
        }
    }
    match nested {
        Some(data) => bounded(data),
        None => Err(fault("the component has no `dibw:manifest` section: it is not an element")
            .hint("end the element's source with `element!(...)` of dibw-sdk")
            .into()),
    }
}

/// What it takes to compile it must be known before: a compiler can't be interrupted.
fn check_bounds(bytes: &[u8]) -> Result<()> {
    let fault = |text: String| Fault::new(FaultKind::Element, text);
    let (mut code, mut functions, mut parts) = (0_usize, 0_u32, 0_u32);
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(|wrong| fault(format!("not a WebAssembly component: {wrong}")))? {
            Payload::CodeSectionStart { count, size, .. } => {
                code = code.saturating_add(size as usize);
                functions = functions.saturating_add(count);
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => parts += 1,
            _ => {}
        }
        if code > LARGEST_CODE {
            bail!(fault(format!("the component has more than {} MiB of code", LARGEST_CODE >> 20)));
        }
        if functions > MOST_FUNCTIONS {
            bail!(fault(format!("the component has more than {MOST_FUNCTIONS} functions")));
        }
        if parts > MOST_PARTS {
            bail!(fault(format!("the component is made of more than {MOST_PARTS} modules and components")));
        }
    }
    Ok(())
}

fn bounded(data: &[u8]) -> Result<&[u8]> {
    if data.len() > LARGEST_MANIFEST {
        bail!(Fault::new(
            FaultKind::Element,
            format!("the manifest has {} bytes, more than {LARGEST_MANIFEST}", data.len())
        ));
    }
    Ok(data)
}

fn read_imports(bytes: &[u8]) -> Result<Vec<(String, Vec<String>)>> {
    let DecodedWasm::Component(resolve, world) = wit_component::decode(bytes)? else {
        bail!("this is a WIT package, not a component");
    };
    let mut imports = Vec::new();
    for key in resolve.worlds[world].imports.keys() {
        let name = resolve.name_world_key(key);
        let found =
            resolve.interfaces.iter().find(|(id, _)| resolve.id_of(*id).as_deref() == Some(name.as_str()));
        let functions =
            found.map(|(_, interface)| interface.functions.keys().cloned().collect()).unwrap_or_default();
        imports.push((name, functions));
    }
    Ok(imports)
}
