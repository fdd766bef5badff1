//! `dibw lock`: writes and checks `dibw.lock`, the elements that were looked at with their digests and needs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dibw_plan::resolve::dependencies;
use dibw_plan::{Catalogue, Element, Fault, FaultKind, Faults, Plan};
use dibw_policy::lock::{Lock, LockChange, Present, check_lock};

use super::{End, Outcome};
use crate::arguments::read_named;

/// Where the lock is when nobody says.
pub const FILE: &str = "dibw.lock";

/// Record elements with their digests and needs, and find out what changed since.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dibw lock update debian-minimal vm motd     take these and all they depend on into the lock
  dibw lock check                             what changed since
  dibw lock update --accept                   take in what changed, with needs that grew

A build beside a dibw.lock, or with --lock FILE, refuses elements that are not as the lock has them.
Exit codes: 0 nothing changed, 3 something did.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,

    /// The lock
    #[arg(long, value_name = "FILE", default_value = FILE, global = true)]
    lock: PathBuf,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Take elements into the lock; needs that grew only with --accept
    Update {
        /// Elements, by name or path; without any, those of the lock
        #[arg(value_name = "ELEMENT")]
        elements: Vec<String>,

        /// Take in needs that grew, too
        #[arg(long)]
        accept: bool,
    },
    /// Compare elements with the lock
    Check {
        /// Elements, by name or path; without any, those of the lock
        #[arg(value_name = "ELEMENT")]
        elements: Vec<String>,
    },
}

/// Prints to standard output.
pub fn run(args: &Args) -> Outcome {
    match &args.command {
        Command::Update { elements, accept } => update(&args.lock, elements, *accept),
        Command::Check { elements } => {
            let lock = read(&args.lock)?;
            let present = present(&names(elements, &lock))?;
            told(&check_lock(&present, &lock))
        }
    }
}

fn update(file: &Path, elements: &[String], accept: bool) -> Outcome {
    let mut lock = if file.exists() { read(file)? } else { Lock::default() };
    let present = present(&names(elements, &lock))?;
    let changes = check_lock(&present, &lock);
    // What is new is being taken in on purpose; what grew behind a known name is what nobody looked at.
    let grown: Vec<&LockChange> = changes
        .iter()
        .filter(|change| !change.widened.is_empty() && lock.elements.contains_key(&change.element))
        .collect();
    for change in &changes {
        println!("{change}");
    }
    if !grown.is_empty() && !accept {
        let names: Vec<&str> = grown.iter().map(|change| change.element.as_str()).collect();
        let message = format!("{} asks for more than the lock has; nothing was written", names.join(", "));
        let hint = "when that is right: dibw lock update --accept";
        return Err(Fault::new(FaultKind::Policy, message).hint(hint).into());
    }
    lock.accept(&present);
    write(file, &lock.to_text())?;
    println!("{}: {} elements", file.display(), lock.elements.len());
    Ok(())
}

fn told(changes: &[LockChange]) -> Outcome {
    for change in changes {
        println!("{change}");
    }
    match changes {
        [] => {
            println!("nothing changed");
            Ok(())
        }
        _ => Err(End::Status(FaultKind::Policy.exit_code())),
    }
}

/// The elements that are named, or those of the lock.
fn names(elements: &[String], lock: &Lock) -> Vec<String> {
    if elements.is_empty() { lock.elements.keys().cloned().collect() } else { elements.to_vec() }
}

/// The elements with all they depend on, as they are now.
fn present(names: &[String]) -> Result<Vec<Present>, Faults> {
    if names.is_empty() {
        let fault = Fault::new(FaultKind::Usage, "no element is named, and the lock has none");
        return Err(fault.hint("dibw lock update debian-minimal vm").into());
    }
    let given: Vec<PathBuf> = names.iter().filter(|name| is_path(name)).map(PathBuf::from).collect();
    let path = dibw_engine::catalogue::elements_path()?;
    let catalogue = dibw_engine::catalogue::read(&path, &given)?;
    let name = |given: &String| match is_path(given) {
        true => dibw_engine::catalogue::name_of(Path::new(given)),
        false => given.clone(),
    };
    let wanted: Vec<String> = names.iter().map(name).collect();
    let mut faults = Faults::default();
    for name in wanted.iter().filter(|name| !catalogue.elements.contains_key(*name)) {
        let known = catalogue.elements.keys().map(String::as_str);
        let fault = Fault::new(FaultKind::Element, format!("Element '{name}' not found"));
        faults.push(fault.suggest(name, known));
    }
    faults.or(closure(wanted, &catalogue))
}

/// The elements and all that they depend on, in the order of their names. A name that no element has is one that elements provide.
fn closure(wanted: Vec<String>, catalogue: &Catalogue) -> Vec<Present> {
    let mut found: BTreeMap<String, Present> = BTreeMap::new();
    let mut queue = wanted;
    while let Some(name) = queue.pop() {
        let Some(element) = catalogue.elements.get(&name).filter(|_| !found.contains_key(&name)) else {
            continue;
        };
        queue.extend(dependencies(element).into_iter().map(str::to_owned));
        found.insert(name, as_present(element));
    }
    found.into_values().collect()
}

/// Refuses a build whose elements are not as the lock has them.
///
/// # Errors
/// Every element that differs, with the needs that grew.
pub fn enforce(file: Option<&Path>, plan: &Plan) -> Result<(), Faults> {
    let lock = match file {
        Some(file) => read(file)?,
        None if Path::new(FILE).exists() => read(Path::new(FILE))?,
        None => return Ok(()),
    };
    let shown = file.unwrap_or(Path::new(FILE)).display();
    let fault = |change: LockChange| {
        let fault = Fault::new(FaultKind::Policy, format!("not as {shown} has it: {change}"));
        fault.hint(format!("when that is right: dibw lock update --accept {}", change.element))
    };
    let faults = Faults(check_lock(&plan.present(), &lock).into_iter().map(fault).collect());
    faults.or(())
}

fn is_path(name: &str) -> bool {
    name.contains('/') || name.ends_with(".wasm")
}

fn as_present(element: &Element) -> Present {
    let needs = element.typed.as_ref().map(|typed| typed.manifest.needs.clone());
    Present { identity: element.identity(), needs: needs.unwrap_or_default() }
}

fn read(file: &Path) -> Result<Lock, Faults> {
    let named = read_named(file, FaultKind::Config)?;
    Lock::parse(&named.text)
        .map_err(|wrong| Fault::new(FaultKind::Config, format!("{}: {wrong}", named.name)).into())
}

/// Written whole or not at all.
fn write(file: &Path, text: &str) -> Result<(), Faults> {
    let new = file.with_extension("lock.new");
    let written = std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, file));
    written.map_err(|error| {
        Fault::new(FaultKind::Host, format!("cannot write {}: {error}", file.display())).into()
    })
}
