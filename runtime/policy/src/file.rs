//! One policy file: YAML text to a [`PolicyFile`]. All problems are reported at once, each with its line.
//!
//! What is not understood, or not enforced by this version, is refused, never ignored: a policy that is not enforced is a lie.
//! Callers: the command line (which reads the files and knows today's date).

mod classic;
mod grants;
mod reader;
mod rules;
mod sections;
mod trust;

use crate::confinement::Classic;
use crate::identity::Pin;
use crate::never::NeverRule;
use crate::policy::{Mode, PolicyFault, Rule};
use crate::resources::Resources;
use crate::settings::Settings;
use crate::trust::Trust;
use crate::yaml::{self, Node, YamlError};
use reader::Reader;

/// The format's name, the value of `api`.
pub const API: &str = "dibw/policy/v1";

const KEYS: [&str; 15] = [
    "api",
    "name",
    "mode",
    "on_no_match",
    "trust",
    "classic",
    "never",
    "ceiling",
    "grants",
    "inputs",
    "secrets",
    "repositories",
    "audit",
    "environment",
    "check",
];

/// One policy file, parsed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolicyFile {
    /// The policy's own name.
    pub name: String,
    /// What the file is called in messages.
    pub file: String,
    /// SHA-256 of its text, hexadecimal.
    pub digest: String,
    /// What a refusal does.
    pub mode: Mode,
    /// Whose components may take part; none: everyone's.
    pub trust: Option<Trust>,
    /// How classic hooks are confined.
    pub classic: Classic,
    /// What is refused whatever is granted.
    pub never: Vec<NeverRule>,
    /// What nothing may exceed; none: no ceiling.
    pub ceiling: Option<Ceiling>,
    /// What elements get.
    pub grants: Vec<ElementGrant>,
    /// The rest.
    pub settings: Settings,
}

/// What nothing may exceed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ceiling {
    /// The rights; a capability without a rule is then granted to nobody. None: only resources are limited.
    pub rules: Option<Vec<Rule>>,
    /// The limits.
    pub resources: Resources,
    /// Line in the policy file, from 1.
    pub line: usize,
}

/// What one element gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElementGrant {
    /// The element's id.
    pub element: String,
    /// What it is tied to.
    pub pin: Pin,
    /// What it gets.
    pub allow: Vec<Rule>,
    /// Why a wildcard in it is right.
    pub i_understand: Option<String>,
    /// Line in the policy file, from 1.
    pub line: usize,
}

/// Parses a policy file. `file` is its name for messages, `today` (`YYYY-MM-DD`) is compared with `expires`.
///
/// # Errors
/// Every problem in the file.
pub fn parse(file: &str, text: &str, today: &str) -> Result<PolicyFile, Vec<PolicyFault>> {
    let mut reader = Reader { file, today, wrong: Vec::new() };
    let policy = match yaml::load_without_anchors(text) {
        Ok(root) => reader.policy_file(&root, text),
        Err(error) => {
            reader.wrong.push(error);
            PolicyFile::default()
        }
    };
    if reader.wrong.is_empty() {
        return Ok(policy);
    }
    let fault =
        |e: YamlError| PolicyFault { file: file.to_owned(), line: e.line, message: e.message, hint: e.hint };
    Err(reader.wrong.into_iter().map(fault).collect())
}

impl Reader<'_> {
    fn policy_file(&mut self, root: &Node, text: &str) -> PolicyFile {
        self.keys(root, &KEYS);
        match root.get("api").and_then(Node::as_str) {
            Some(API) => {}
            Some(other) => {
                self.fault(root, format!("api `{other}` is not known; this version reads `{API}`"), None);
            }
            None => self.fault(root, format!("`api: {API}` is missing"), None),
        }
        if let Some(node) = root.get("on_no_match")
            && node.as_str() != Some("deny")
        {
            self.fault(node, "`on_no_match` can only be `deny`".to_owned(), None);
        }
        PolicyFile {
            name: root.get("name").map(|n| self.text(n)).unwrap_or_default(),
            file: self.file.to_owned(),
            digest: crate::audit::sha256(text.as_bytes()),
            mode: root.get("mode").map(|n| self.mode(n)).unwrap_or_default(),
            trust: root.get("trust").and_then(|n| self.trust(n)),
            classic: root.get("classic").map(|n| self.classic(n)).unwrap_or_default(),
            never: root.get("never").map(|n| self.never(n)).unwrap_or_default(),
            ceiling: root.get("ceiling").map(|n| self.ceiling(n)),
            grants: root.get("grants").map(|n| self.grants(n)).unwrap_or_default(),
            settings: self.settings(root),
        }
    }

    fn mode(&mut self, node: &Node) -> Mode {
        match node.as_str() {
            Some("enforce") => Mode::Enforce,
            Some("audit") => Mode::Audit,
            _ => {
                self.fault(node, "`mode` is `enforce` or `audit`".to_owned(), None);
                Mode::Enforce
            }
        }
    }
}

impl PolicyFile {
    /// What only a site's file may have, when this is a file that narrows.
    pub(crate) fn site_only(&self) -> Vec<PolicyFault> {
        let names = self.settings.names();
        let fault = |(section, name, line): (&str, &str, usize)| PolicyFault {
            file: self.file.clone(),
            line,
            message: format!(
                "{section}.{name}: a file of --policy narrows the site's policy, and defines nothing"
            ),
            hint: Some("let the site define it in /etc/dibw/policy.d".to_owned()),
        };
        names.into_iter().map(fault).collect()
    }
}

#[cfg(test)]
mod tests;
