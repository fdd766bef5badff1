//! Tree or graph form of a layout -> a flat list of nodes, each with `base` and `name`, in diskimage-builder's order: children come
//! before their parents (compat/CONTRACT.md 5.2). Knows the six kinds of entries, not what their options mean. Called by `layout::parse`.

use dibw_policy::yaml::{self, Data, Entry, Node, Scalar, Spot, Value};

use super::RootDefaults;
use super::source::{Fields, Source};
use crate::fault::Faults;

/// What an entry makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of the configuration")]
pub enum Plugin {
    LocalLoop,
    Partitioning,
    Lvm,
    Mkfs,
    Mount,
    Fstab,
}

impl Plugin {
    const ALL: [Self; 6] =
        [Self::LocalLoop, Self::Partitioning, Self::Lvm, Self::Mkfs, Self::Mount, Self::Fstab];

    /// As written in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::LocalLoop => "local_loop",
            Self::Partitioning => "partitioning",
            Self::Lvm => "lvm",
            Self::Mkfs => "mkfs",
            Self::Mount => "mount",
            Self::Fstab => "fstab",
        }
    }

    fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|plugin| plugin.name() == name)
    }
}

/// One node of the flat configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct FlatNode {
    /// What it makes.
    pub plugin: Plugin,
    /// Where it is written.
    pub spot: Spot,
    /// Its options; `base`, where there is one, and `name` come first.
    pub entries: Vec<Entry>,
}

impl FlatNode {
    /// As diskimage-builder's `config.json` has it: `{plugin: options}`.
    pub fn to_json(&self) -> serde_json::Value {
        let options: serde_json::Map<_, _> =
            self.entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect();
        serde_json::json!({ self.plugin.name(): options })
    }

    pub(super) fn fields(&self) -> Fields<'_> {
        Fields { what: self.plugin.name(), spot: self.spot, entries: &self.entries }
    }

    fn insert_missing(&mut self, key: &str, value: &str) {
        if self.fields().get(key).is_none() {
            self.entries.push(text_entry(key, value, self.spot));
        }
    }
}

/// Far beyond any disk; keeps work on names that are searched for among each other short.
const MOST_NODES: usize = 2000;

/// Reads and flattens a configuration and merges the defaults of the root file system.
///
/// # Errors
/// Everything that is no well-formed list of known entries.
pub fn flatten(text: &str, file: &str, root: &RootDefaults) -> Result<Vec<FlatNode>, Faults> {
    let mut source = Source::new(file);
    let nodes = flatten_into(text, root, &mut source);
    source.faults.or(nodes)
}

pub(super) fn flatten_into(text: &str, root: &RootDefaults, source: &mut Source<'_>) -> Vec<FlatNode> {
    let mut flat = Vec::new();
    let document = match yaml::load(text) {
        Ok(document) => document,
        Err(error) => {
            source.yaml(error);
            return flat;
        }
    };
    let Some(items) = document.as_sequence() else {
        source
            .fault(document.spot, format!("a block device configuration is a list, not {}", document.kind()));
        return flat;
    };
    if items.is_empty() {
        source.fault(document.spot, "the block device configuration is empty");
    }
    for item in items {
        top_level(item, source, &mut flat);
    }
    if flat.len() > MOST_NODES {
        source.fault(
            document.spot,
            format!("{} entries are more than a layout may have: {MOST_NODES}", flat.len()),
        );
        flat.clear();
    }
    for node in &mut flat {
        merge_root_defaults(node, root);
    }
    flat
}

/// One item of the list: a mapping of exactly one known key.
fn top_level(item: &Node, source: &mut Source<'_>, flat: &mut Vec<FlatNode>) {
    let entry = match item.as_mapping() {
        None => {
            let what = item.as_text().unwrap_or_else(|| item.kind());
            return source.fault(item.spot, format!("Config entry not a dict: {what}"));
        }
        Some([entry]) => entry,
        Some(entries) => {
            let keys: Vec<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
            return source.fault_with_hint(
                item.spot,
                format!(
                    "Config entry top-level should be a single dict: this one has the keys {}",
                    keys.join(", ")
                ),
                "begin each entry with `- `",
            );
        }
    };
    match Plugin::of(&entry.key) {
        Some(plugin) => flatten_node(plugin, entry, None, source, flat),
        None => {
            let known = Plugin::ALL.map(Plugin::name);
            let message = format!("Config entry is not a plugin value: {}", entry.key);
            source.unknown_name(entry.spot, message, &entry.key, &known);
        }
    }
}

fn flatten_node(
    plugin: Plugin,
    entry: &Entry,
    parent: Option<&str>,
    source: &mut Source<'_>,
    flat: &mut Vec<FlatNode>,
) {
    let Some(values) = entry.value.as_mapping() else {
        let message = format!("`{}` must be a mapping, not {}", plugin.name(), entry.value.kind());
        return source.fault(entry.value.spot, message);
    };
    let spot = entry.spot;
    let find = |key: &str| values.iter().find(|value| value.key == key);
    // `base` of an lvm entry may be a list; it is ignored there, so only its presence matters.
    let base = find("base").cloned().or_else(|| Some(text_entry("base", parent?, spot)));
    let base_text = base.as_ref().and_then(|base| base.value.as_text()).map(str::to_owned);
    let name = match find("name").and_then(|name| name.value.as_text()) {
        Some(name) => name.to_owned(),
        None => match &base_text {
            Some(base) => format!("{}_{base}", plugin.name()),
            None => {
                return source.fault(spot, format!("{} needs a 'name' or a 'base'", plugin.name()));
            }
        },
    };
    let name_entry = find("name").cloned().unwrap_or_else(|| text_entry("name", &name, spot));
    let mut entries: Vec<Entry> = base.into_iter().chain([name_entry]).collect();
    for value in values {
        if value.key == "base" || value.key == "name" {
            continue;
        }
        if let Some(child) = Plugin::of(&value.key) {
            flatten_node(child, value, Some(&name), source, flat);
        } else if value.key == "partitions" {
            let partitions = flatten_partitions(value, base_text.as_deref(), source, flat);
            entries.push(partitions);
        } else {
            entries.push(value.clone());
        }
    }
    flat.push(FlatNode { plugin, spot, entries });
}

/// The partition records, without what is built on them; that is flattened.
fn flatten_partitions(
    partitions: &Entry,
    base: Option<&str>,
    source: &mut Source<'_>,
    flat: &mut Vec<FlatNode>,
) -> Entry {
    let mut records = Vec::new();
    // What is no list of mappings is kept as it is: the reader of partitions says what is wrong with it.
    let Some(items) = partitions.value.as_sequence() else { return partitions.clone() };
    for item in items {
        let Some(values) = item.as_mapping() else {
            records.push(item.clone());
            continue;
        };
        let name = item.get("name").and_then(Node::as_text);
        let mut record = Vec::new();
        for value in values {
            match (Plugin::of(&value.key), name) {
                (Some(child), Some(name)) => flatten_node(child, value, Some(name), source, flat),
                (Some(_), None) => {} // The reader of partitions says that the name is missing.
                (None, _) if value.key == "base" => {}
                (None, _) => record.push(value.clone()),
            }
        }
        if let Some(base) = base {
            record.push(text_entry("base", base, item.spot));
        }
        records.push(Node { value: Value::Mapping(record), spot: item.spot });
    }
    let value = Node { value: Value::Sequence(records), spot: partitions.value.spot };
    Entry { key: partitions.key.clone(), spot: partitions.spot, value }
}

/// The file system that is named `mkfs_root`, and no other, takes type, options and label from the user's variables.
fn merge_root_defaults(node: &mut FlatNode, root: &RootDefaults) {
    let is_root =
        node.plugin == Plugin::Mkfs && node.fields().get("name").and_then(Node::as_text) == Some("mkfs_root");
    if !is_root {
        return;
    }
    node.insert_missing("type", &root.fstype);
    let fstype = node.fields().get("type").and_then(Node::as_text).unwrap_or_default().to_owned();
    let opts = root.opts_for(&fstype);
    if !opts.is_empty() {
        node.insert_missing("opts", &opts);
    }
    let default_label = if fstype == "xfs" { "img-rootfs" } else { "cloudimg-rootfs" };
    node.insert_missing("label", root.label.as_deref().unwrap_or(default_label));
}

fn text_entry(key: &str, text: &str, spot: Spot) -> Entry {
    let scalar = Scalar { raw: text.to_owned(), quoted: true, data: Data::Text };
    Entry { key: key.to_owned(), spot, value: Node { value: Value::Scalar(scalar), spot } }
}
