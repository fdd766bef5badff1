//! `dibw plugin`: for authors of typed elements.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use dibw_host::plugin_build::{self, Machine, Options};
use dibw_plan::{Fault, FaultKind};

use super::{End, Outcome};

/// Make, build and inspect typed elements (WebAssembly components).
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Start a new typed element: a crate with its first test
    #[command(
        after_help = "Example:\n  dibw plugin new my-element && cd my-element && cargo test && dibw plugin build"
    )]
    New {
        /// Its name: lower-case letters, digits and dashes
        name: String,
        /// Path of the SDK crate [default: the one of the source tree dibw was built in]
        #[arg(long, value_name = "DIR")]
        sdk: Option<PathBuf>,
    },
    /// Compile a crate, or all crates of a workspace, to components
    #[command(
        after_help = "Examples:\n  dibw plugin build my-element\n  dibw plugin build plugins --only motd"
    )]
    Build {
        /// The crate or workspace
        #[arg(default_value = ".")]
        directory: PathBuf,
        /// Build only this package of a workspace (repeatable)
        #[arg(long, value_name = "PACKAGE")]
        only: Vec<String>,
        /// Where components go, as DIR/NAME/element.wasm [default: target/elements/NAME.wasm]
        #[arg(short, long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Make an element of a module or component that another language's compiler gave
    #[command(
        after_help = "Example:\n  clang --target=wasm32-wasi -mexec-model=reactor hello.c -o hello.wasm\n  dibw plugin pack hello.wasm --manifest manifest.json -o element.wasm"
    )]
    Pack {
        /// The .wasm file: a core module, which may import WASI preview 1, or a component
        file: PathBuf,
        /// The manifest, a JSON file: id, version, api, hooks, needs
        #[arg(long, value_name = "FILE")]
        manifest: PathBuf,
        /// Where the element goes
        #[arg(short, long, value_name = "FILE", default_value = "element.wasm")]
        out: PathBuf,
    },
    /// Show what a component says of itself and what it imports, without running it
    #[command(after_help = "Example:\n  dibw plugin inspect plugins/target/elements/users.wasm")]
    Inspect {
        /// The .wasm file
        file: PathBuf,
    },
}

/// Runs the subcommand.
pub fn run(args: &Args) -> Outcome {
    match &args.command {
        Command::New { name, sdk } => new(name, sdk.as_deref()),
        Command::Build { directory, only, out } => build(directory, only, out.as_deref()),
        Command::Pack { file, manifest, out } => pack(file, manifest, out),
        Command::Inspect { file } => inspect(file),
    }
}

/// The files of a new crate; `{{name}}` and `{{sdk_path}}` are filled in.
const TEMPLATE: [(&str, &str); 4] = [
    ("Cargo.toml", include_str!("../../../../sdk/template/Cargo.toml.template")),
    ("src/lib.rs", include_str!("../../../../sdk/template/src/lib.rs")),
    ("README.md", include_str!("../../../../sdk/template/README.md")),
    (".gitignore", "/target\n"),
];

fn new(name: &str, sdk: Option<&Path>) -> Outcome {
    let well_formed = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if !well_formed {
        let message = format!("`{name}` is not a name for an element");
        return Err(Fault::new(FaultKind::Usage, message)
            .hint("lower-case letters, digits and dashes: my-element")
            .into());
    }
    let sdk = sdk
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk")), Path::to_path_buf);
    let sdk = sdk.canonicalize().map_err(|_| {
        Fault::new(FaultKind::Usage, format!("the SDK is not at {}", sdk.display()))
            .hint("say where with --sdk DIR")
    })?;
    let directory = Path::new(name);
    if directory.exists() {
        return Err(Fault::new(FaultKind::Usage, format!("{name} exists already")).into());
    }
    for (file, text) in TEMPLATE {
        let path = directory.join(file);
        let text = text
            .replace("{{name}}", name)
            .replace("{{Name}}", &type_name(name))
            .replace("{{NAME}}", &name.to_uppercase().replace('-', "_"))
            .replace("{{sdk_path}}", &sdk.display().to_string());
        path.parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::write(&path, text))
            .with_context(|| format!("writing {}", path.display()))?;
    }
    println!("{name}/");
    eprintln!("next: cd {name} && cargo test && dibw plugin build");
    Ok(())
}

/// `my-element` as a Rust type: `MyElement`.
fn type_name(name: &str) -> String {
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    name.split('-').filter(|word| !word.is_empty()).map(capital).collect()
}

fn build(directory: &Path, only: &[String], out: Option<&Path>) -> Outcome {
    let options = Options { only: only.to_vec(), out: out.map(Path::to_path_buf), ..Options::default() };
    let mut say = |line: &str| eprintln!("{line}");
    for built in
        plugin_build::build(directory, &options, &Machine::of_process(dibw_sys::probe::is_root()), &mut say)?
    {
        for warning in &built.warnings {
            eprintln!("warn: {}: {warning}", built.name);
        }
        println!("{}", built.component.display());
    }
    Ok(())
}

/// A file that is not larger than a component may be.
fn read(file: &Path) -> Result<Vec<u8>, Fault> {
    dibw_host::read_file(file).map_err(|error| {
        let unread = |error: anyhow::Error| {
            let text = format!("cannot read {}: {}", file.display(), error.root_cause());
            Fault::new(FaultKind::Usage, text)
        };
        error.downcast::<Fault>().unwrap_or_else(unread)
    })
}

fn pack(file: &Path, manifest: &Path, out: &Path) -> Outcome {
    let (component, inspection) = dibw_host::pack(&read(file)?, &read(manifest)?)
        .with_context(|| format!("packing {} with {}", file.display(), manifest.display()))?;
    fs::write(out, component).with_context(|| format!("writing {}", out.display()))?;
    for warning in &inspection.warnings {
        eprintln!("warn: {}: {warning}", inspection.manifest.id);
    }
    println!("{}", out.display());
    Ok(())
}

fn inspect(file: &Path) -> Outcome {
    let bytes = read(file)?;
    let inspection = dibw_host::inspect(&bytes).map_err(|error| match error.downcast::<Fault>() {
        Ok(fault) => End::from(Fault { message: format!("{}: {}", file.display(), fault.message), ..fault }),
        Err(error) => error.context(format!("component {}", file.display())).into(),
    })?;
    let manifest = &inspection.manifest;
    println!("{} {} (api {})", manifest.id, manifest.version, manifest.api);
    println!("  {}", manifest.summary);
    println!("size     {} bytes, sha256 {}", inspection.size, inspection.sha256);
    for hook in &manifest.hooks {
        println!("hook     {} at {}", hook.phase, hook.order);
    }
    for need in &manifest.needs {
        println!("needs    {need}");
    }
    for (interface, functions) in &inspection.imports {
        println!("imports  {interface}: {}", functions.join(" "));
    }
    if inspection.uses_wasi() {
        println!("WASI     {}", dibw_host::WASI_SAYS);
    }
    for warning in &inspection.warnings {
        println!("warning  {warning}");
    }
    Ok(())
}
