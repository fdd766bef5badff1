//! The element model: what an element directory or component holds, as data. `dibw-compat` makes it from a listing of files;
//! resolution and planning read it. Facts: compat/CONTRACT.md section 2.1.

use std::collections::BTreeMap;

use dibw_policy::{Identity, yaml};
use serde::{Deserialize, Serialize};

use crate::fault::Faults;
use crate::manifest::Manifest;
use crate::phase::Phase;
use crate::request::NamedText;

/// One element.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Element {
    /// The name other elements and the user call it by.
    pub name: String,
    /// Its directory, or the `.wasm` file of a lone component.
    pub path: String,
    /// Elements it needs.
    pub depends: Vec<String>,
    /// Names it stands for.
    pub provides: Vec<String>,
    /// Names of the selected hook scripts of each phase.
    pub hooks: BTreeMap<Phase, Vec<String>>,
    /// Names of the files in `environment.d`.
    pub environment: Vec<String>,
    /// `package-installs.yaml` or `.json`.
    pub package_installs: Option<NamedText>,
    /// `pkg-map`.
    pub pkg_map: Option<NamedText>,
    /// `svc-map`.
    pub svc_map: Option<NamedText>,
    /// `block-device-<arch>.yaml` by `<arch>`, with `default`.
    pub block_device: BTreeMap<String, NamedText>,
    /// Deprecated package lists, `<phase>.d/package-installs-<element>`.
    #[serde(default)]
    pub package_lists: BTreeMap<Phase, NamedText>,
    /// Programs that its hooks need on the host, from the file `host-tools`.
    #[serde(default)]
    pub host_tools: Vec<String>,
    /// Every directory entry below the element that is merged into the hooks tree: `dir/entry`, not deeper; directories end in `/`. For the
    /// duplicate check.
    pub merged: Vec<String>,
    /// The typed part.
    pub typed: Option<Typed>,
    /// SHA-256 over its files (path, mode, content), hexadecimal.
    pub digest: String,
}

/// The typed part of an element.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Typed {
    /// The component file.
    pub component: String,
    /// SHA-256 of the component, hexadecimal.
    pub digest: String,
    /// What it says of itself.
    pub manifest: Manifest,
    /// Names of the policy's keys that signed it; filled in once the policy is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signers: Vec<String>,
}

impl Element {
    /// As rules of a policy see it.
    pub fn identity(&self) -> Identity {
        Identity {
            id: self.name.clone(),
            digest: self.typed.as_ref().map(|typed| typed.digest.clone()),
            tree: Some(self.digest.clone()),
            signers: self.typed.as_ref().map(|typed| typed.signers.clone()).unwrap_or_default(),
        }
    }

    /// True when it has hook scripts or other classic parts.
    pub fn is_classic(&self) -> bool {
        self.typed.is_none() || !self.hooks.is_empty() || !self.environment.is_empty()
    }
}

/// All elements found on the elements path, and the directories or files given as arguments, by name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Catalogue {
    /// By name.
    pub elements: BTreeMap<String, Element>,
    /// Elements that can't be read, by name, and why. A build that does not use them is not concerned.
    #[serde(default)]
    pub broken: BTreeMap<String, Faults>,
}

/// `IMAGE_ELEMENT_YAML`: the names of elements and their directories as a YAML map, sorted by name.
pub fn paths_yaml<'a>(elements: impl Iterator<Item = &'a Element>) -> String {
    let sorted: BTreeMap<&str, &str> =
        elements.map(|element| (element.name.as_str(), element.path.as_str())).collect();
    sorted.iter().map(|(name, path)| format!("{}: {}\n", yaml_text(name), yaml_text(path))).collect()
}

/// A string in YAML: plain where it reads back as the same string, else in double quotes as JSON has it.
fn yaml_text(text: &str) -> String {
    let plain = yaml::load(&format!("{text}: {text}\n")).ok().is_some_and(|document| {
        let entries = document.as_mapping().unwrap_or_default();
        matches!(entries, [entry] if entry.key == text && entry.value.as_str() == Some(text))
    });
    if plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}
