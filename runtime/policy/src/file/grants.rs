//! The sections `grants` and `never`. Called by `file::parse`.

use super::reader::Reader;
use super::{Ceiling, ElementGrant};
use crate::address::AddressClass;
use crate::capability::Capability;
use crate::hazard;
use crate::identity::{Pin, parse_digest};
use crate::never::{Never, NeverRule};
use crate::resources::{Resources, parse_bytes, parse_count, parse_seconds};
use crate::yaml::{Entry, Node};

impl Reader<'_> {
    pub(super) fn grants(&mut self, node: &Node) -> Vec<ElementGrant> {
        let items = self.items(node);
        items.iter().enumerate().map(|(index, item)| self.grant(index, item)).collect()
    }

    fn grant(&mut self, index: usize, item: &Node) -> ElementGrant {
        self.keys(item, &["element", "allow", "i_understand"]);
        let (element, pin) = match item.get("element") {
            Some(found) => self.grantee(found),
            None => {
                self.fault(item, "`element` is missing".to_owned(), None);
                (String::new(), Pin::Name)
            }
        };
        let allow =
            item.get("allow").map(|n| self.rules(n, &format!("grants[{index}].allow"))).unwrap_or_default();
        let reason = self.optional(item, "i_understand");
        let i_understand = Some(reason).filter(|reason| !reason.trim().is_empty());
        for rule in allow.iter().filter(|_| i_understand.is_none()) {
            if hazard::covers_everything(&rule.need) {
                let mut error =
                    item.error(format!("{} in {} grants everything there is", rule.need, rule.key));
                error.line = rule.line;
                error.hint = Some(format!(
                    "name what `{element}` needs, or add `i_understand: \"why\"` beside `allow`"
                ));
                self.wrong.push(error);
            }
        }
        ElementGrant { element, pin, allow, i_understand, line: item.spot.line }
    }

    /// A name, or `{id, digest | tree | publisher}`.
    fn grantee(&mut self, node: &Node) -> (String, Pin) {
        if let Some(name) = node.as_text() {
            return (name.to_owned(), Pin::Name);
        }
        self.keys(node, &["id", "digest", "publisher", "tree"]);
        let id = self.required(node, "id");
        let mut pins = Vec::new();
        if let Some(digest) = node.get("digest") {
            pins.extend(self.parsed(digest, parse_digest).map(Pin::Digest));
        }
        if let Some(tree) = node.get("tree") {
            pins.extend(self.parsed(tree, parse_digest).map(Pin::Tree));
        }
        if node.get("publisher").is_some() {
            pins.push(Pin::Publisher(self.required(node, "publisher")));
        }
        if pins.len() > 1 {
            self.fault(node, "only one of `digest`, `tree`, `publisher` can be given".to_owned(), None);
        }
        (id, pins.pop().unwrap_or_default())
    }

    /// Capabilities, and `resources`.
    pub(super) fn ceiling(&mut self, node: &Node) -> Ceiling {
        let resources = node.get("resources").map(|n| self.resources(n)).unwrap_or_default();
        let entries = self.entries(node);
        let only_resources = matches!(entries, [only] if only.key == "resources");
        let rights = entries.iter().filter(|entry| entry.key != "resources");
        let rules: Vec<_> = rights.flat_map(|entry| self.rules_of(entry, "ceiling")).collect();
        Ceiling { rules: (!only_resources).then_some(rules), resources, line: node.spot.line }
    }

    fn resources(&mut self, node: &Node) -> Resources {
        self.keys(node, &Resources::KEYS);
        let mut limit = |key: &str, parse: fn(&str) -> Result<u64, String>| {
            node.get(key).and_then(|n| self.parsed(n, parse))
        };
        Resources {
            memory: limit("memory", parse_bytes),
            pids: limit("pids", parse_count),
            wall: limit("wall", parse_seconds),
            net_bytes: limit("net_bytes", parse_bytes),
            disk: limit("disk", parse_bytes),
        }
    }

    /// A list of `{capability: value or values}`; `"*"` is every value. `{classic: host}` refuses a level.
    pub(super) fn never(&mut self, node: &Node) -> Vec<NeverRule> {
        let mut rules = Vec::new();
        for item in self.items(node) {
            let entries = self.entries(item);
            rules.extend(entries.iter().flat_map(|entry| self.never_entry(entry)));
        }
        rules
    }

    fn never_entry(&mut self, entry: &Entry) -> Vec<NeverRule> {
        let file = self.file.to_owned();
        let rule = |what: Never, line: usize| NeverRule { what, file, line };
        if entry.key == "classic" {
            if entry.value.as_text() != Some("host") {
                self.fault(&entry.value, "of `classic`, only `host` can be under `never`".to_owned(), None);
            }
            return vec![rule(Never::ClassicHost, entry.spot.line)];
        }
        if entry.value.as_text() == Some("*") {
            return match entry.key.parse::<Capability>() {
                Ok(capability) => vec![rule(crate::never::all_of(capability), entry.spot.line)],
                Err(wrong) => {
                    self.wrong.push(entry.spot.error(wrong));
                    Vec::new()
                }
            };
        }
        if entry.key == "net.fetch"
            && let Some(to) = entry.value.get("to")
        {
            self.keys(&entry.value, &["to"]);
            let items = self.items(to);
            let classes = items.iter().filter_map(|n| self.parsed(n, |text| text.parse::<AddressClass>()));
            let classes: Vec<AddressClass> = classes.collect();
            let rule = |class: AddressClass| NeverRule {
                what: Never::Addresses(class.name().to_owned()),
                file: self.file.to_owned(),
                line: entry.spot.line,
            };
            return classes.into_iter().map(rule).collect();
        }
        let rules = self.rules_of(entry, "never");
        rules
            .into_iter()
            .map(|found| NeverRule { what: Never::Matching(found.need), file: found.file, line: found.line })
            .collect()
    }
}
