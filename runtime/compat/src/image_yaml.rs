//! The files of the command `diskimage-builder`: lists of image definitions -> the command lines of `disk-image-create` and
//! `ramdisk-image-create`. Called by that command. Unlike [`crate::images`] it knows no setting of dibw's own, and what it gives is run as a
//! process. Facts: compat/CONTRACT.md section 3.2.

mod keys;
mod reader;

use std::collections::BTreeMap;

use dibw_plan::{FaultKind, Faults, NamedText, document};

use crate::shell_words::quote;
use keys::{Argument, KEYS};
use reader::{Definition, Value};

/// One image to be made by a command of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageCommand {
    /// The image's name in the files.
    pub image: String,
    /// Variables to be set, in the order of the file.
    pub environment: Vec<(String, String)>,
    /// `disk-image-create` or `ramdisk-image-create`.
    pub program: &'static str,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// The name of entries before the first that has one.
const UNNAMED: &str = "image";

/// The commands of all files, in the order in which their images first appear.
///
/// # Errors
/// Everything that is wrong in any file, with its line: unknown keys (with the nearest known one) and values of a wrong kind.
pub fn commands(sources: &[NamedText]) -> Result<Vec<ImageCommand>, Faults> {
    let mut faults = Faults::default();
    let mut images: Vec<(String, Definition)> = Vec::new();
    let mut current = UNNAMED.to_owned();
    for source in sources {
        let document = faults.take(document::load(source, FaultKind::Config));
        let Some(list) = document.and_then(|list| faults.take(reader::read(&source.name, &list))) else {
            continue;
        };
        for definition in list {
            // An entry without a name goes on with the one before it.
            if let Some(Value::Text(name)) = definition.get("imagename") {
                current.clone_from(name);
            }
            match images.iter_mut().find(|(name, _)| *name == current) {
                Some((_, first)) => merge(first, definition),
                None => images.push((current.clone(), definition)),
            }
        }
    }
    faults.or(images.into_iter().map(|(name, definition)| command(name, &definition)).collect())
}

/// A later entry of the same name: lists grow, maps are updated, single values are replaced.
fn merge(first: &mut Definition, later: Definition) {
    for (key, value) in later {
        match (first.get_mut(key), value) {
            (Some(Value::List(list)), Value::List(more)) => list.extend(more),
            (Some(Value::Map(map)), Value::Map(more)) => {
                for (name, value) in more {
                    match map.iter_mut().find(|(known, _)| *known == name) {
                        Some((_, old)) => *old = value,
                        None => map.push((name, value)),
                    }
                }
            }
            (_, value) => {
                first.insert(key, value);
            }
        }
    }
}

fn command(image: String, definition: &Definition) -> ImageCommand {
    let ramdisk = definition.get("ramdisk") == Some(&Value::Flag(true));
    let environment = match definition.get("environment") {
        Some(Value::Map(variables)) => variables.clone(),
        _ => Vec::new(),
    };
    ImageCommand {
        image,
        environment,
        program: if ramdisk { "ramdisk-image-create" } else { "disk-image-create" },
        arguments: arguments(definition),
    }
}

/// In the order of the keys, not of the file. What is empty or false is left out.
fn arguments(definition: &Definition) -> Vec<String> {
    let mut arguments = Vec::new();
    for key in &KEYS {
        let Some(value) = definition.get(key.name) else { continue };
        let text = match value {
            Value::Text(text) | Value::Number(text) => text.clone(),
            Value::List(words) => words.join(","),
            Value::Map(pairs) => {
                let pairs: Vec<String> =
                    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
                pairs.join(",")
            }
            Value::Flag(_) | Value::Level(_) => String::new(),
        };
        match (key.argument, value) {
            (Argument::None, _) | (_, Value::Flag(false)) => {}
            (Argument::Option(option), Value::Flag(true)) => arguments.push(option.to_owned()),
            (Argument::Option(option), Value::Level(level)) => {
                arguments.extend(std::iter::repeat_n(option.to_owned(), *level));
            }
            (Argument::Option(option), _) if !text.is_empty() => arguments.extend([option.to_owned(), text]),
            (Argument::Words, Value::List(words)) => arguments.extend(words.iter().cloned()),
            (Argument::Option(_) | Argument::Words, _) => {}
        }
    }
    arguments
}

impl ImageCommand {
    /// The command as a line for a shell, with the directory that holds the programs.
    pub fn line(&self, library: &str) -> String {
        let variables = self.environment.iter().map(|(name, value)| format!("{name}={}", quote(value)));
        let program = ["bash".to_owned(), quote(&format!("{library}/{}", self.program))];
        let arguments = self.arguments.iter().map(|argument| quote(argument));
        variables.chain(program).chain(arguments).collect::<Vec<_>>().join(" ")
    }
}

/// The text for `--help`: every key, what kind of value it has and what it is for.
pub fn describe_keys() -> String {
    let line = |key: &keys::Key| format!("  {:<18} {}; {}", key.name, key.help, key.kind.words());
    KEYS.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Definitions hold values by the names of [`KEYS`].
type ByKey = BTreeMap<&'static str, Value>;
