//! Building typed elements from Rust: find a compiler, make its library if it has none for wasm, call cargo, make components of the
//! modules. The runtime's own wasm engine is not involved. Called by `dibw plugin build` and, through it, `./dev`.

mod cargo;
mod machine;
mod sysroot;
mod toolchain;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

pub use machine::Machine;
pub use toolchain::{APT_COMMAND, Library, NoToolchain, RUSTUP_COMMAND, Toolchain, discover};

use crate::component::inspect;
use crate::componentize::componentize;
use cargo::{Flags, Package, Workspace};

/// What plugins are compiled for: a target without WASI, so that components import `dibw:*` and nothing else.
const TARGET: &str = "wasm32-unknown-unknown";

/// How to build.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Which packages of the workspace; none means all that make a plugin.
    pub only: Vec<String>,
    /// Where components go, as `DIR/<name>/element.wasm`; none means `<target directory>/elements/<name>.wasm`.
    pub out: Option<PathBuf>,
    /// What becomes of the compiler's output.
    pub compiler_output: CompilerOutput,
}

/// What becomes of the compiler's output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CompilerOutput {
    /// Part of the error, when there is one.
    #[default]
    OnFailure,
    /// Passed on to standard error as it comes.
    Shown,
}

/// A component that was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The element's name: the crate's.
    pub name: String,
    /// The file.
    pub component: PathBuf,
    /// Bytes.
    pub size: u64,
    /// The interfaces it imports.
    pub imports: Vec<String>,
    /// What looks wrong but does not stop it.
    pub warnings: Vec<String>,
}

/// Builds the plugins of the crate or workspace in `directory`; `say` gets one line for each step.
///
/// # Errors
/// [`NoToolchain`] when no compiler can do it (`downcast_ref` finds it); else what cargo or the compiler said, a crate that is no
/// plugin, a component that [`inspect`] refuses, or a file that cannot be written.
pub fn build(
    directory: &Path,
    options: &Options,
    machine: &Machine,
    say: &mut dyn FnMut(&str),
) -> Result<Vec<Built>> {
    let manifest = directory.join("Cargo.toml");
    ensure!(manifest.is_file(), "{} is not a crate: it has no Cargo.toml", directory.display());
    let manifest = manifest.canonicalize().with_context(|| format!("resolving {}", manifest.display()))?;
    let toolchain = discover(machine)?;
    say(&format!("compiler: {toolchain}"));
    let sysroot = match &toolchain.library {
        Library::Installed => None,
        Library::Source(_) => Some(sysroot::seeded(&toolchain, machine, say)?),
    };
    let workspace = cargo::metadata(&toolchain, &manifest)?;
    let plugins = chosen(&workspace, &manifest, &options.only)?;
    let names = plugins.iter().map(|plugin| plugin.name.as_str()).collect::<Vec<_>>().join(", ");
    say(&format!("compiling {names}"));
    let flags = Flags { sysroot, remap: remap(&workspace, machine), bitcode: false };
    let modules = cargo::compile(&toolchain, &workspace, &plugins, &flags, options.compiler_output)?;
    let mut built = Vec::new();
    for plugin in plugins {
        let module = modules
            .get(&plugin.name)
            .with_context(|| format!("cargo made no wasm module of {}", plugin.name))?;
        let place = place(&workspace, options, &plugin.name);
        let component = component(&plugin.name, module, place)?;
        component.warnings.iter().for_each(|warning| say(&format!("warning: {}: {warning}", plugin.name)));
        say(&format!("{} ({} KiB)", component.component.display(), component.size.div_ceil(1024)));
        built.push(component);
    }
    Ok(built)
}

/// The named plugins; without names the one of this manifest, or all when the manifest is the workspace's.
fn chosen<'a>(workspace: &'a Workspace, manifest: &Path, only: &[String]) -> Result<Vec<&'a Package>> {
    let members =
        workspace.packages.iter().filter(|package| workspace.workspace_members.contains(&package.id));
    let plugins: Vec<&Package> = members.filter(|package| package.is_plugin()).collect();
    if only.is_empty() {
        let own: Vec<&Package> =
            plugins.iter().copied().filter(|plugin| plugin.manifest_path == manifest).collect();
        let chosen = if own.is_empty() { plugins } else { own };
        ensure!(
            !chosen.is_empty(),
            "{} makes no plugin: add `[lib] crate-type = [\"cdylib\", \"rlib\"]`",
            manifest.display()
        );
        return Ok(chosen);
    }
    let find = |name: &String| plugins.iter().copied().find(|plugin| plugin.name == *name);
    if let Some(unknown) = only.iter().find(|name| find(name).is_none()) {
        let names = plugins.iter().map(|plugin| plugin.name.as_str()).collect::<Vec<_>>().join(", ");
        bail!("{} has no plugin `{unknown}`; it has {names}", workspace.workspace_root.display());
    }
    Ok(only.iter().filter_map(find).collect())
}

/// Paths of this machine say nothing about the element: they are replaced by names, so that the same source gives the same component.
fn remap(workspace: &Workspace, machine: &Machine) -> Vec<(PathBuf, String)> {
    let mut remap: Vec<_> = machine.registry_remap().into_iter().collect();
    // cargo compiles members by paths relative to this directory, which the debug information names: with nothing in its place those stay.
    remap.push((workspace.workspace_root.clone(), String::new()));
    for package in workspace.packages.iter().filter(|package| package.source.is_none()) {
        if let Some(directory) = package.manifest_path.parent() {
            remap.push((directory.to_owned(), package.name.clone()));
        }
    }
    remap
}

fn place(workspace: &Workspace, options: &Options, name: &str) -> PathBuf {
    match &options.out {
        Some(directory) => directory.join(name).join("element.wasm"),
        None => workspace.target_directory.join("elements").join(format!("{name}.wasm")),
    }
}

/// Makes the component and puts it in its place, whole or not at all.
fn component(name: &str, module: &Path, place: PathBuf) -> Result<Built> {
    let core = fs::read(module).with_context(|| format!("reading {}", module.display()))?;
    let bytes = componentize(&core).with_context(|| format!("making a component of {name}"))?;
    let inspection = inspect(&bytes).with_context(|| format!("checking the component of {name}"))?;
    let directory = place.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
    let partial = place.with_extension("wasm.partial");
    fs::write(&partial, &bytes).with_context(|| format!("writing {}", partial.display()))?;
    fs::rename(&partial, &place)
        .with_context(|| format!("moving {} to {}", partial.display(), place.display()))?;
    let imports = inspection.imports.into_iter().map(|(interface, _)| interface).collect();
    Ok(Built {
        name: name.to_owned(),
        component: place,
        size: bytes.len() as u64,
        imports,
        warnings: inspection.warnings,
    })
}
