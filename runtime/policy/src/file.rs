//! The policy file (`--policy FILE`): YAML text to a [`Policy`]. All problems are reported at once, each with its line.
//!
//! Parts of the format that this version does not enforce are refused, never ignored: a policy that is not enforced is a lie.
//! Callers: the command line (which reads the file and knows today's date).

use crate::capability::{Capability, ServiceAction};
use crate::confinement::Level;
use crate::need::Need;
use crate::policy::{Classic, ClassicRule, ElementGrant, Mode, Policy, PolicyFault, Rule};
use crate::yaml::{self, Entry, Node, YamlError};

/// The format's name, the value of `api`.
pub const API: &str = "dibw/policy/v1";

const KEYS: [&str; 7] = ["api", "name", "mode", "on_no_match", "classic", "ceiling", "grants"];
const LATER: [&str; 6] = ["trust", "inputs", "audit", "never", "environment", "check"];

/// Parses a policy. `file` is its name for messages, `today` (`YYYY-MM-DD`) is compared with `expires`.
///
/// # Errors
/// Every problem in the file.
pub fn parse(file: &str, text: &str, today: &str) -> Result<Policy, Vec<PolicyFault>> {
    let mut reader = Reader { today, wrong: Vec::new() };
    let policy = match yaml::load(text) {
        Ok(root) => reader.policy(file, &root),
        Err(error) => {
            reader.wrong.push(error);
            Policy::default()
        }
    };
    if reader.wrong.is_empty() {
        return Ok(policy);
    }
    let fault =
        |e: YamlError| PolicyFault { file: file.to_owned(), line: e.line, message: e.message, hint: e.hint };
    Err(reader.wrong.into_iter().map(fault).collect())
}

struct Reader<'a> {
    today: &'a str,
    wrong: Vec<YamlError>,
}

impl Reader<'_> {
    fn policy(&mut self, file: &str, root: &Node) -> Policy {
        self.keys(root, &KEYS, &LATER);
        match root.get("api").and_then(Node::as_str) {
            Some(API) => {}
            Some(other) => {
                self.fault(root, format!("api `{other}` is not known; this version reads `{API}`"), None)
            }
            None => self.fault(root, format!("`api: {API}` is missing"), None),
        }
        if let Some(node) = root.get("on_no_match")
            && node.as_str() != Some("deny")
        {
            self.fault(node, "`on_no_match` can only be `deny`".to_owned(), None);
        }
        Policy {
            name: root.get("name").map(|n| self.text(n)).unwrap_or_default(),
            file: Some(file.to_owned()),
            mode: root.get("mode").map(|n| self.mode(n)).unwrap_or_default(),
            classic: root.get("classic").map(|n| self.classic(n)).unwrap_or_default(),
            ceiling: root.get("ceiling").map(|n| self.rules(n)),
            grants: root.get("grants").map(|n| self.grants(n)).unwrap_or_default(),
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

    fn classic(&mut self, node: &Node) -> Classic {
        self.keys(node, &["default", "allow"], &[]);
        let default = node.get("default").and_then(|n| {
            let level = self.level(n)?;
            if level == Level::Host {
                let hint = "list the elements under `classic.allow`, each with reason, owner and expires";
                self.fault(n, "`host` cannot be the default".to_owned(), Some(hint.to_owned()));
            }
            Some(level)
        });
        let rules = node.get("allow").map(|n| self.items(n)).unwrap_or_default();
        Classic { default, allow: rules.iter().filter_map(|n| self.classic_rule(n)).collect() }
    }

    fn classic_rule(&mut self, node: &Node) -> Option<ClassicRule> {
        self.keys(node, &["element", "level", "reason", "owner", "expires"], &["net", "env"]);
        let mut text = |key: &str| node.get(key).map(|n| self.text(n)).unwrap_or_default();
        let (element, reason, owner, expires) =
            (text("element"), text("reason"), text("owner"), text("expires"));
        let level = match node.get("level") {
            Some(found) => self.level(found)?,
            None => {
                self.fault(node, "`level` is missing".to_owned(), None);
                return None;
            }
        };
        if element.is_empty() {
            self.fault(node, "`element` is missing".to_owned(), None);
        }
        if level == Level::Host && [&reason, &owner, &expires].iter().any(|t| t.is_empty()) {
            self.fault(node, "level `host` needs `reason`, `owner` and `expires`".to_owned(), None);
        }
        if !expires.is_empty() && !is_date(&expires) {
            self.fault(node, format!("`expires: {expires}` is not a date like 2030-12-31"), None);
        } else if !expires.is_empty() && expires.as_str() < self.today {
            let hint = format!("remove the exception for `{element}` or agree on a new date");
            self.fault(node, format!("the exception for `{element}` expired on {expires}"), Some(hint));
        }
        Some(ClassicRule { element, level, reason, owner, expires, line: node.spot.line })
    }

    fn level(&mut self, node: &Node) -> Option<Level> {
        match self.text(node).parse() {
            Ok(level) => Some(level),
            Err(wrong) => {
                self.fault(node, wrong, None);
                None
            }
        }
    }

    fn grants(&mut self, node: &Node) -> Vec<ElementGrant> {
        let mut grants = Vec::new();
        for item in self.items(node) {
            self.keys(&item, &["element", "allow"], &[]);
            let element = match item.get("element") {
                Some(found) => self.element_id(found),
                None => {
                    self.fault(&item, "`element` is missing".to_owned(), None);
                    String::new()
                }
            };
            grants.push(ElementGrant {
                element,
                allow: item.get("allow").map(|n| self.rules(n)).unwrap_or_default(),
            });
        }
        grants
    }

    fn element_id(&mut self, node: &Node) -> String {
        if let Some(name) = node.as_text() {
            return name.to_owned();
        }
        self.keys(node, &["id"], &["digest", "publisher", "tree"]);
        match node.get("id") {
            Some(id) => self.text(id),
            None => {
                self.fault(node, "`id` is missing".to_owned(), None);
                String::new()
            }
        }
    }

    /// `{<capability>: [values]}`.
    fn rules(&mut self, node: &Node) -> Vec<Rule> {
        let Some(entries) = node.as_mapping() else {
            self.fault(node, format!("capabilities are expected here, not {}", node.kind()), None);
            return Vec::new();
        };
        entries.iter().flat_map(|entry| self.rules_of(entry)).collect()
    }

    fn rules_of(&mut self, entry: &Entry) -> Vec<Rule> {
        let capability: Capability = match entry.key.parse() {
            Ok(capability) => capability,
            Err(wrong) => {
                self.wrong.push(entry.spot.error(wrong));
                return Vec::new();
            }
        };
        let mut rules = Vec::new();
        for item in self.items(&entry.value) {
            for value in self.values(capability, &item) {
                match Need::new(capability, &value) {
                    Ok(need) => rules.push(Rule { need, line: item.spot.line }),
                    Err(wrong) => self.fault(&item, wrong, None),
                }
            }
        }
        rules
    }

    /// A scalar is a value; for `service.set` also `{enable: [units]}`.
    fn values(&mut self, capability: Capability, item: &Node) -> Vec<String> {
        if capability != Capability::ServiceSet || item.as_mapping().is_none() {
            return vec![self.text(item)];
        }
        self.keys(item, &ServiceAction::ALL.map(ServiceAction::name), &[]);
        let mut values = Vec::new();
        for entry in item.as_mapping().unwrap_or_default() {
            for unit in self.items(&entry.value) {
                values.push(format!("{} {}", entry.key, self.text(&unit)));
            }
        }
        values
    }

    fn items(&mut self, node: &Node) -> Vec<Node> {
        match node.as_sequence() {
            Some(items) => items.to_vec(),
            None => {
                self.fault(node, format!("a list is expected here, not {}", node.kind()), None);
                Vec::new()
            }
        }
    }

    fn text(&mut self, node: &Node) -> String {
        match node.as_text() {
            Some(text) => text.to_owned(),
            None => {
                self.fault(node, format!("a text is expected here, not {}", node.kind()), None);
                String::new()
            }
        }
    }

    /// Reports unknown keys, and keys of the format that this version does not enforce.
    fn keys(&mut self, node: &Node, known: &[&str], later: &[&str]) {
        let all: Vec<&str> = known.iter().chain(later).copied().collect();
        let mut wrong = node.expect_keys(&all);
        for error in wrong.iter_mut().filter(|e| e.message == "unknown key `legacy`") {
            error.hint = Some("this version calls it `classic`".to_owned());
        }
        self.wrong.append(&mut wrong);
        for entry in node.as_mapping().unwrap_or_default().iter().filter(|e| later.contains(&e.key.as_str()))
        {
            self.wrong.push(
                entry.spot.error(format!("`{}` is not supported yet by this version of dibw", entry.key)),
            );
        }
    }

    fn fault(&mut self, node: &Node, message: String, hint: Option<String>) {
        let mut error = node.error(message);
        error.hint = hint;
        self.wrong.push(error);
    }
}

fn is_date(text: &str) -> bool {
    let shape = |(i, c): (usize, char)| if i == 4 || i == 7 { c == '-' } else { c.is_ascii_digit() };
    text.len() == 10 && text.chars().enumerate().all(shape)
}

#[cfg(test)]
mod tests;
