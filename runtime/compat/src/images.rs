//! Image files (`--config IMAGES.yaml`): diskimage-builder's list of images, and settings of typed elements in it -> Requests.
//! Called by the command line. Facts: compat/CONTRACT.md section 3.2.
//! `no-tmpfs` and `min-tmpfs` are accepted and mean nothing here.

mod keys;
mod request;

use std::collections::BTreeMap;

use dibw_plan::{FaultKind, Faults, NamedText, document};
use dibw_policy::yaml::{Data, Node, Value};

use keys::{KEYS, Kind};

/// One image of the file: its entries of the same name, merged.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Image {
    /// `imagename`; none means the name the command line has.
    pub name: Option<String>,
    /// The file it is from, for messages.
    file: String,
    /// Values by key.
    fields: BTreeMap<&'static str, Field>,
    /// `elements: [{name: {key: value}}]`.
    settings: BTreeMap<String, BTreeMap<String, serde_json::Value>>,
}

/// A value by its key's kind.
#[derive(Debug, Clone, PartialEq)]
enum Field {
    Text(String),
    Number(f64),
    Flag(bool),
    List(Vec<String>),
    Map(BTreeMap<String, String>),
}

/// The images of a file, in the order of their first entries.
///
/// # Errors
/// Every unknown key (with the nearest known one) and value of a wrong kind, with its line.
pub fn parse(source: &NamedText) -> Result<Vec<Image>, Faults> {
    let document = document::load(source, FaultKind::Config)?;
    let mut reader = Reader { file: &source.name, faults: Faults::default() };
    let mut images: Vec<Image> = Vec::new();
    let mut name: Option<String> = None;
    if !document.is_null() && document.as_sequence().is_none() {
        reader.fault(&document, format!("a list of images is expected here, not {}", document.kind()));
    }
    for node in document.as_sequence().unwrap_or_default() {
        let entry = reader.entry(node);
        // An entry without a name goes on with the one before it.
        name = entry.name.clone().or(name);
        match images.iter_mut().find(|image| image.name == name) {
            Some(image) => image.merge(entry),
            None => images.push(Image { name: name.clone(), ..entry }),
        }
    }
    reader.faults.or(images)
}

impl Image {
    /// A later entry of the same name: lists grow, maps are updated, single values are replaced.
    fn merge(&mut self, later: Self) {
        for (key, field) in later.fields {
            match (self.fields.get_mut(key), field) {
                (Some(Field::List(list)), Field::List(more)) => list.extend(more),
                (Some(Field::Map(map)), Field::Map(more)) => map.extend(more),
                (_, field) => {
                    self.fields.insert(key, field);
                }
            }
        }
        for (element, settings) in later.settings {
            self.settings.entry(element).or_default().extend(settings);
        }
    }
}

struct Reader<'a> {
    file: &'a str,
    faults: Faults,
}

impl Reader<'_> {
    fn fault(&mut self, node: &Node, message: impl Into<String>) {
        self.faults.push(document::fault_at(FaultKind::Config, self.file, node.spot, message));
    }

    fn entry(&mut self, node: &Node) -> Image {
        let mut image = Image { file: self.file.to_owned(), ..Image::default() };
        let known: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
        let unknown = node.expect_keys(&known);
        self.faults
            .0
            .extend(unknown.into_iter().map(|error| document::fault(FaultKind::Config, self.file, error)));
        for entry in node.as_mapping().unwrap_or_default() {
            let Some(key) = KEYS.iter().find(|key| key.name == entry.key) else { continue };
            let field = match key.kind {
                Kind::Elements => Some(Field::List(self.elements(&entry.value, &mut image.settings))),
                kind => self.field(key.name, kind, &entry.value),
            };
            match field {
                Some(Field::Text(name)) if key.name == "imagename" => image.name = Some(name),
                Some(field) => {
                    image.fields.insert(key.name, field);
                }
                None => {}
            }
        }
        image
    }

    fn field(&mut self, key: &str, kind: Kind, node: &Node) -> Option<Field> {
        let field = match kind {
            Kind::Text => node.as_str().map(|text| Field::Text(text.to_owned())),
            Kind::OneOf(words) => {
                let word = node.as_text().filter(|word| words.contains(word));
                word.map(|word| Field::Text(word.to_owned()))
            }
            Kind::Number => number(node).filter(|number| *number > 0.0).map(Field::Number),
            Kind::Flag => node.as_bool().map(Field::Flag),
            Kind::List => node.as_sequence().and_then(texts).map(Field::List),
            Kind::Map => node.as_mapping().and_then(|entries| {
                let pair = |entry: &dibw_policy::yaml::Entry| {
                    Some((entry.key.clone(), entry.value.as_str()?.to_owned()))
                };
                entries.iter().map(pair).collect::<Option<_>>().map(Field::Map)
            }),
            Kind::Refused(why) => {
                if node.as_bool() != Some(false) {
                    self.fault(node, format!("`{key}`: {why}"));
                }
                return None;
            }
            Kind::Elements => None,
        };
        if field.is_none() {
            self.wrong_kind(key, kind, node);
        }
        field
    }

    fn wrong_kind(&mut self, key: &str, kind: Kind, node: &Node) {
        let found = node.as_text().filter(|_| node.as_str().is_none()).unwrap_or(node.kind());
        let fault = |node: &Node, message: String| {
            document::fault_at(FaultKind::Config, self.file, node.spot, message)
        };
        let fault = match kind {
            Kind::OneOf(words) => {
                let found = node.as_text().unwrap_or(node.kind());
                fault(node, format!("`{key}`: `{found}` is not one of {}", words.join(", ")))
                    .suggest(found, words.iter().copied())
            }
            Kind::Map => {
                let wrong =
                    node.as_mapping().unwrap_or_default().iter().find(|entry| entry.value.as_str().is_none());
                match wrong {
                    Some(entry) => fault(
                        &entry.value,
                        format!("`{}`: a string is expected here, not {}", entry.key, entry.value.kind()),
                    )
                    .hint(format!(
                        "{}: \"{}\"",
                        entry.key,
                        entry.value.as_text().unwrap_or_default()
                    )),
                    None => fault(node, format!("`{key}`: a mapping is expected here, not {}", node.kind())),
                }
            }
            kind => fault(node, format!("`{key}`: {} is expected here, not {found}", kind.words())),
        };
        self.faults.push(fault);
    }

    /// Names, and maps of a name to its settings.
    fn elements(
        &mut self,
        node: &Node,
        settings: &mut BTreeMap<String, BTreeMap<String, serde_json::Value>>,
    ) -> Vec<String> {
        let mut names = Vec::new();
        let Some(items) = node.as_sequence() else {
            self.fault(node, format!("`elements`: a list is expected here, not {}", node.kind()));
            return names;
        };
        for item in items {
            match &item.value {
                Value::Scalar(_) => match item.as_text() {
                    Some(name) => names.push(name.to_owned()),
                    None => self.fault(item, "`elements`: a name is expected here"),
                },
                Value::Mapping(entries) => {
                    for entry in entries {
                        names.push(entry.key.clone());
                        match entry.value.as_mapping() {
                            Some(pairs) => {
                                let pairs = pairs.iter().map(|pair| (pair.key.clone(), pair.value.to_json()));
                                settings.entry(entry.key.clone()).or_default().extend(pairs);
                            }
                            None if entry.value.is_null() => {}
                            None => {
                                let message = format!(
                                    "`{}`: settings are expected here, not {}",
                                    entry.key,
                                    entry.value.kind()
                                );
                                self.fault(&entry.value, message);
                            }
                        }
                    }
                }
                Value::Sequence(_) => self.fault(item, "`elements`: a name is expected here, not a list"),
            }
        }
        names
    }
}

fn number(node: &Node) -> Option<f64> {
    match node.data()? {
        Data::Integer(value) => Some(*value as f64),
        Data::Float(value) => Some(*value).filter(|value| value.is_finite()),
        Data::Null | Data::Bool(_) | Data::Text => None,
    }
}

fn texts(items: &[Node]) -> Option<Vec<String>> {
    items.iter().map(|item| item.as_str().map(str::to_owned)).collect()
}
