//! What typed elements are offered by name: files and secrets of the command line (`--input`, `--secret`) and of the site's policy, and the
//! policy's catalogue of package repositories. Read before anything runs, bounded in size.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;

use dibw_engine::offers::{Offers, Repository, Secret};
use dibw_plan::{Fault, FaultKind, Faults, Plan};
use dibw_policy::settings::{RepositorySource, SecretSource};
use dibw_policy::{Capability, Effective, Operation, Policy, decide};

/// Most bytes of an input, as the contract says.
const LARGEST_INPUT: u64 = 16 << 20;

/// Most bytes of a secret.
const LARGEST_SECRET: u64 = 64 << 10;

/// What is offered by name.
#[derive(clap::Args)]
pub struct OfferArgs {
    /// Offer a file to typed elements by name (repeatable); who may read it is said with --grant
    #[arg(long = "input", value_name = "NAME=PATH")]
    inputs: Vec<String>,

    /// Offer a secret to typed elements by name (repeatable), from a file or a variable; elements never see it
    #[arg(long = "secret", value_name = "NAME=PATH|env:VARIABLE")]
    secrets: Vec<String>,
}

impl OfferArgs {
    /// Reads everything.
    ///
    /// # Errors
    /// All that can't be read, at once.
    pub fn offers(&self) -> Result<Offers, Faults> {
        let mut faults = Faults::default();
        let mut offers = Offers::default();
        for text in &self.inputs {
            let read = named("--input", text).and_then(|(name, path)| {
                add(&mut offers.inputs, "--input", name, read_file("--input", name, path, LARGEST_INPUT)?)
            });
            faults.take(read);
        }
        for text in &self.secrets {
            let read = named("--secret", text).and_then(|(name, source)| {
                let bytes = match source.strip_prefix("env:") {
                    Some(variable) => read_variable(name, variable)?,
                    None => read_file("--secret", name, source, LARGEST_SECRET)?,
                };
                add(&mut offers.secrets, "--secret", name, Secret::new(bytes))
            });
            faults.take(read);
        }
        faults.or(offers)
    }
}

/// Adds what the policy offers, as far as an element of a plan may ask for it.
///
/// # Errors
/// All that can't be read, and names that the command line offers too.
pub fn add_of_policy(offers: &mut Offers, policy: &Policy, plans: &[&Plan]) -> Result<(), Faults> {
    let elements =
        plans.iter().flat_map(|plan| &plan.elements).filter_map(|element| element.component.as_ref());
    let rights: Vec<&Effective> = elements.map(|component| &component.effective).collect();
    let asks =
        |capability| rights.iter().any(|own| own.needs().iter().any(|need| need.capability() == capability));
    let may = |operation: Operation| rights.iter().any(|own| decide(own, &operation).is_allowed());
    let mut faults = Faults::default();
    for (name, input) in policy.inputs() {
        if may(Operation::ReadInput { name: name.to_owned() }) {
            let most = input.max_bytes.min(LARGEST_INPUT);
            let read = read_file("inputs:", name, &input.path, most);
            faults.take(read.and_then(|bytes| add(&mut offers.inputs, "--input", name, bytes)));
        }
    }
    for (name, secret) in policy.secrets() {
        if asks(Capability::SecretUse) {
            let read = match &secret.source {
                SecretSource::Path(path) => read_file("secrets:", name, path, LARGEST_SECRET),
                SecretSource::Variable(variable) => read_variable(name, variable),
            };
            faults
                .take(read.and_then(|bytes| add(&mut offers.secrets, "--secret", name, Secret::new(bytes))));
        }
    }
    for (id, known) in policy.repositories() {
        if may(Operation::AddRepository { id: id.to_owned() }) {
            let made = repository(id, known);
            faults.take(made.and_then(|made| add(&mut offers.repositories, "repository", id, made)));
        }
    }
    faults.or(())
}

/// A repository of the catalogue with its key: parts, or a line as sources.list(5) has it.
fn repository(id: &str, known: &dibw_policy::settings::Repository) -> Result<Repository, Faults> {
    let key = read_file("repositories:", id, &known.key, LARGEST_SECRET)?;
    let (url, suites, components) = match &known.source {
        RepositorySource::Parts { url, suites, components } => {
            (url.clone(), suites.clone(), components.clone())
        }
        RepositorySource::Line(line) => {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["deb", url, suite, components @ ..] if !url.starts_with('[') => {
                    let own = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
                    ((*url).to_owned(), own(&[suite]), own(components))
                }
                _ => {
                    return Err(usage(format!(
                        "repository {id}: `{line}` is not `deb URL SUITE COMPONENT...`"
                    )));
                }
            }
        }
    };
    Ok(Repository { url, suites, components, key })
}

fn usage(message: String) -> Faults {
    Fault::new(FaultKind::Usage, message).into()
}

/// `NAME=SOURCE`. The source is not repeated in messages with a secret's value: it never is one.
fn named<'a>(option: &str, text: &'a str) -> Result<(&'a str, &'a str), Faults> {
    let shape = || {
        let source = if option == "--secret" { "PATH or NAME=env:VARIABLE" } else { "PATH" };
        usage(format!("{option} {text}: this is not NAME={source}"))
    };
    let (name, source) = text.split_once('=').filter(|(_, source)| !source.is_empty()).ok_or_else(shape)?;
    dibw_policy::account::check_label(name).map_err(|wrong| usage(format!("{option} {text}: {wrong}")))?;
    Ok((name, source))
}

fn add<T>(to: &mut BTreeMap<String, T>, option: &str, name: &str, value: T) -> Result<(), Faults> {
    match to.insert(name.to_owned(), value) {
        None => Ok(()),
        Some(_) => Err(usage(format!("{option} {name} is given twice (the site's policy counts)"))),
    }
}

fn read_file(option: &str, name: &str, path: &str, most: u64) -> Result<Vec<u8>, Faults> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(most + 1).read_to_end(&mut bytes));
    read.map_err(|error| usage(format!("{option} {name}: cannot read {path}: {error}")))?;
    if bytes.len() as u64 > most {
        return Err(usage(format!("{option} {name}: {path} has more than {most} bytes")));
    }
    Ok(bytes)
}

fn read_variable(name: &str, variable: &str) -> Result<Vec<u8>, Faults> {
    match std::env::var_os(variable) {
        Some(value) if !value.is_empty() => Ok(value.into_vec()),
        Some(_) | None => Err(usage(format!("--secret {name}: the variable {variable} is not set"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offers(inputs: &[&str], secrets: &[&str]) -> Result<Offers, String> {
        let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        OfferArgs { inputs: own(inputs), secrets: own(secrets) }.offers().map_err(|faults| faults.to_string())
    }

    #[test]
    fn what_is_offered() {
        let found = offers(&["os-release=/etc/os-release"], &["path=env:PATH"]).unwrap();
        assert_eq!(found.inputs["os-release"], std::fs::read("/etc/os-release").unwrap());
        assert_eq!(format!("{:?}", found.secrets), r#"{"path": ***}"#);
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let said = offers(
            &["x", "a b=/x", "zero=/dev/zero", "gone=/no/such/file", "twice=/etc/hosts", "twice=/etc/hosts"],
            &["s", "gone=env:DIBW_NO_SUCH_VARIABLE", "zero=/dev/zero"],
        )
        .unwrap_err();
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines.len(), 8, "{said}");
        for part in [
            "--input x: this is not NAME=PATH",
            "--input a b=/x: ",
            "--input zero: /dev/zero has more than 16777216 bytes",
            "--input gone: cannot read /no/such/file: ",
            "--input twice is given twice",
            "--secret s: this is not NAME=PATH or NAME=env:VARIABLE",
            "--secret gone: the variable DIBW_NO_SUCH_VARIABLE is not set",
            "--secret zero: /dev/zero has more than 65536 bytes",
        ] {
            assert!(said.contains(part), "{part} in {said}");
        }
    }
}
