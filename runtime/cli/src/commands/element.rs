//! `dibw element`: what can be built from.

mod audit;
mod lint;
mod test;

use anyhow::Context;
use dibw_plan::{Catalogue, Element, Fault, FaultKind, Phase};

use super::Outcome;

/// Look at elements: list them, show one, expand dependencies, check and test them.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// List all elements on the elements path with one line about each
    List,
    /// Show what an element holds: hooks, packages, configuration, needs
    #[command(after_help = "Example:\n  dibw element info users")]
    Info {
        /// Its name
        name: String,
    },
    /// Show the elements that a set of elements expands to, in the order they are used
    #[command(after_help = "Example:\n  dibw element deps debian-minimal vm")]
    Deps {
        /// Their names
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Check the files of elements for what goes wrong in builds, with the rules of dib-lint
    #[command(after_help = "Example:\n  dibw element lint ./my-element")]
    Lint {
        /// Directories or names; without any, all elements on ELEMENTS_PATH
        #[arg(value_name = "DIR|NAME")]
        elements: Vec<String>,
    },
    /// Find out what classic elements need: the narrowest level of each hook, as a policy
    Audit(Box<audit::Args>),
    /// Build the test elements of elements, and say which fail
    #[command(after_help = "Example:\n  dibw element test -j 2 debian/build-succeeds my-element")]
    Test(test::Args),
}

/// Prints to standard output.
pub fn run(args: &Args) -> Outcome {
    let catalogue = || dibw_engine::catalogue::read(&dibw_engine::catalogue::elements_path()?, &[]);
    match &args.command {
        Command::List => list(&catalogue()?),
        Command::Info { name } => info(&catalogue()?, name)?,
        Command::Deps { names } => {
            for name in dibw_plan::resolve::expand(names, &catalogue()?)? {
                println!("{name}");
            }
        }
        Command::Lint { elements } => lint::run(elements)?,
        Command::Audit(args) => audit::run(args)?,
        Command::Test(args) => test::run(args)?,
    }
    Ok(())
}

fn list(catalogue: &Catalogue) {
    for element in catalogue.elements.values() {
        println!("{:<24} {:<8} {}", element.name, kind(element), summary(element));
    }
    for (name, faults) in &catalogue.broken {
        eprintln!("warn: element {name} can't be used:\n{faults}");
    }
}

fn kind(element: &Element) -> &'static str {
    match (&element.typed, element.is_classic()) {
        (None, _) => "classic",
        (Some(_), false) => "typed",
        (Some(_), true) => "both",
    }
}

/// The manifest's summary, or the first line of text of the README.
fn summary(element: &Element) -> String {
    if let Some(typed) = &element.typed {
        return typed.manifest.summary.clone();
    }
    dibw_engine::catalogue::readme_summary(element).unwrap_or_default()
}

fn info(catalogue: &Catalogue, name: &str) -> Outcome {
    if let Some(faults) = catalogue.broken.get(name) {
        return Err(faults.clone().into());
    }
    let element = catalogue.elements.get(name).ok_or_else(|| {
        Fault::new(FaultKind::Element, format!("Element '{name}' not found"))
            .suggest(name, catalogue.elements.keys().map(String::as_str))
    })?;
    println!("{} ({})\n  {}\n", element.name, kind(element), summary(element));
    println!("path      {}", element.path);
    println!("depends   {}", or_none(&element.depends));
    println!("provides  {}", or_none(&element.provides));
    for phase in Phase::ALL {
        for script in element.hooks.get(&phase).into_iter().flatten() {
            println!("hook      {phase}.d/{script}");
        }
    }
    if let Some(typed) = &element.typed {
        let manifest = &typed.manifest;
        println!("version   {} (api {}, sha256 {})", manifest.version, manifest.api, &typed.digest[..12]);
        for hook in &manifest.hooks {
            println!("hook      {} at {} (wasm)", hook.phase, hook.order);
        }
        for need in &manifest.needs {
            println!("needs     {need}");
        }
        let component =
            std::fs::read(&typed.component).with_context(|| format!("reading {}", typed.component))?;
        if dibw_host::inspect(&component)?.uses_wasi() {
            println!("WASI      {}", dibw_host::WASI_SAYS);
        }
        println!("\nconfiguration (JSON Schema):");
        let schema = serde_json::to_string_pretty(&manifest.config_schema);
        println!("{}", schema.expect("a JSON value can be written"));
    }
    Ok(())
}

fn or_none(names: &[String]) -> String {
    match names {
        [] => "-".to_owned(),
        names => names.join(" "),
    }
}
