//! Calling cargo: the environment it gets, the profile plugins are built with, and reading what it made.
//! Must not know toolchain discovery or components. Called by `plugin_build` and `sysroot`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::toolchain::Toolchain;
use super::{CompilerOutput, TARGET};

/// Lines of the compiler's output that an error carries: a few whole diagnostics.
const TAIL: usize = 80;

/// What the caller's environment may hold that changes a build, or sends it to another toolchain.
const CLEARED: [&str; 10] = [
    "CARGO",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_TARGET_DIR",
    "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
];

/// The profile, given on the command line so that every author's plugin is built alike: small, one unit, names kept for traces,
/// line tables for the author's own crates only (those of the dependencies would triple the size).
const PROFILE: [&str; 9] = [
    "profile.plugin.inherits='release'",
    "profile.plugin.opt-level='s'",
    "profile.plugin.lto=true",
    "profile.plugin.codegen-units=1",
    "profile.plugin.panic='abort'",
    "profile.plugin.strip='none'",
    "profile.plugin.debug='line-tables-only'",
    "profile.plugin.package.'*'.debug=false",
    "profile.plugin.incremental=false",
];

/// A workspace as `cargo metadata` describes it.
#[derive(Debug, Deserialize)]
pub struct Workspace {
    /// Its packages and their dependencies.
    pub packages: Vec<Package>,
    /// Ids of its own packages.
    pub workspace_members: Vec<String>,
    /// Where it builds.
    pub target_directory: PathBuf,
    /// Its top directory.
    pub workspace_root: PathBuf,
}

/// One package.
#[derive(Debug, Deserialize)]
pub struct Package {
    /// Unique.
    pub id: String,
    /// The name in `Cargo.toml`.
    pub name: String,
    /// The `Cargo.toml`.
    pub manifest_path: PathBuf,
    /// None for a package in a local directory.
    pub source: Option<String>,
    /// What it builds.
    pub targets: Vec<Target>,
}

/// One thing that a package builds.
#[derive(Debug, Deserialize)]
pub struct Target {
    /// `lib`, `cdylib`, `test` ...
    pub crate_types: Vec<String>,
}

impl Package {
    /// Whether it builds a wasm module.
    pub fn is_plugin(&self) -> bool {
        self.targets.iter().any(|target| target.crate_types.iter().any(|kind| kind == "cdylib"))
    }
}

/// What the compilation needs beside the packages' names.
pub struct Flags {
    /// For `--sysroot`; none uses the compiler's own.
    pub sysroot: Option<PathBuf>,
    /// Directories and what stands for them in the component.
    pub remap: Vec<(PathBuf, String)>,
    /// For a library that is linked with LTO later, by another call of cargo.
    pub bitcode: bool,
}

/// What a module is called and where cargo put it.
pub type Modules = BTreeMap<String, PathBuf>;

/// The workspace of `manifest`.
///
/// # Errors
/// cargo fails, as it does for a broken `Cargo.toml`.
pub fn metadata(toolchain: &Toolchain, manifest: &Path) -> Result<Workspace> {
    let mut command = clean_command(toolchain);
    command
        .args(["metadata", "--format-version", "1", "--filter-platform", TARGET, "--manifest-path"])
        .arg(manifest);
    let text = run_captured(&mut command)?;
    serde_json::from_slice(&text)
        .with_context(|| format!("reading what `cargo metadata` says of {}", manifest.display()))
}

/// Compiles `plugins`.
///
/// # Errors
/// What the compiler says.
pub fn compile(
    toolchain: &Toolchain,
    workspace: &Workspace,
    plugins: &[&Package],
    flags: &Flags,
    output: CompilerOutput,
) -> Result<Modules> {
    let mut command = clean_command(toolchain);
    command.args([
        "build",
        "--profile",
        "plugin",
        "--target",
        TARGET,
        "--message-format",
        "json-render-diagnostics",
    ]);
    command.arg("--manifest-path").arg(workspace.workspace_root.join("Cargo.toml"));
    command.arg("--target-dir").arg(&workspace.target_directory);
    for setting in PROFILE {
        command.args(["--config", setting]);
    }
    for plugin in plugins {
        command.args(["-p", &plugin.id]);
    }
    command.env("CARGO_ENCODED_RUSTFLAGS", rustflags(flags));
    command.stderr(match output {
        CompilerOutput::Shown => Stdio::inherit(),
        CompilerOutput::OnFailure => Stdio::piped(),
    });
    let messages = run_captured(&mut command)?;
    let mut modules = Modules::new();
    for message in messages.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let artifact: Artifact = serde_json::from_slice(message).context("reading cargo's messages")?;
        let Some(plugin) = plugins.iter().find(|plugin| plugin.id == artifact.package_id) else { continue };
        if let Some(module) =
            artifact.filenames.into_iter().find(|path| path.extension().is_some_and(|end| end == "wasm"))
        {
            modules.insert(plugin.name.clone(), module);
        }
    }
    Ok(modules)
}

/// A message of cargo's; others than artifacts have neither field.
#[derive(Deserialize)]
struct Artifact {
    #[serde(default)]
    package_id: String,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

/// For `CARGO_ENCODED_RUSTFLAGS`: separated by 0x1f, so that paths may hold spaces.
pub fn rustflags(flags: &Flags) -> String {
    let sysroot = flags.sysroot.iter().map(|path| format!("--sysroot={}", path.display()));
    let remap = flags.remap.iter().map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()));
    let bitcode = flags.bitcode.then(|| "-Cembed-bitcode=yes".to_owned());
    sysroot.chain(remap).chain(bitcode).collect::<Vec<_>>().join("\u{1f}")
}

/// The toolchain's cargo, in an environment where nothing leads it elsewhere.
pub fn clean_command(toolchain: &Toolchain) -> Command {
    let mut command = Command::new(&toolchain.cargo);
    for name in CLEARED {
        command.env_remove(name);
    }
    command.env("RUSTC", &toolchain.rustc).env("CARGO_TERM_COLOR", "never");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(linker) = &toolchain.linker {
        command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
    }
    command
}

/// The standard output.
///
/// # Errors
/// A status other than 0, with the command line and the end of what it wrote.
pub fn run_captured(command: &mut Command) -> Result<Vec<u8>> {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let output =
        command.spawn().and_then(Child::wait_with_output).with_context(|| format!("running `{line}`"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = stderr.lines().collect();
    let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n");
    bail!("`{line}` ended with {}\n{tail}", output.status)
}
