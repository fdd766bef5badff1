//! The `trust` section. Called by `file::parse`.

use super::reader::Reader;
use crate::trust::{Trust, TrustEntry, TrustKind};
use crate::yaml::Node;

impl Reader<'_> {
    /// `{elements: {any_of: [..], require_distinct_signers: N}}`
    pub(super) fn trust(&mut self, node: &Node) -> Option<Trust> {
        self.keys(node, &["elements", "base_images"]);
        if let Some(found) = node.get("base_images") {
            self.fault(found, "`base_images` is not supported yet by this version of dibw".to_owned(), None);
        }
        let elements = node.get("elements")?;
        self.keys(elements, &["any_of", "require_distinct_signers"]);
        let distinct_signers = elements.get("require_distinct_signers").and_then(|n| {
            self.parsed(n, |text| match text.parse::<usize>() {
                Ok(count @ 1..=16) => Ok(count),
                _ => Err(format!("`{text}` is not a number of signers from 1 to 16")),
            })
        });
        let Some(list) = elements.get("any_of") else {
            self.fault(elements, "`any_of` is missing".to_owned(), None);
            return None;
        };
        let any_of: Vec<TrustEntry> =
            self.items(list).iter().filter_map(|item| self.trust_entry(item)).collect();
        let keys = any_of.iter().filter(|e| matches!(e.kind, TrustKind::Key { .. })).count();
        if let Some(wanted) = distinct_signers
            && wanted > keys.max(1)
        {
            self.fault(list, format!("{wanted} signers are asked for, and {keys} keys are given"), None);
        }
        Some(Trust { any_of, distinct_signers, line: node.spot.line })
    }

    fn trust_entry(&mut self, item: &Node) -> Option<TrustEntry> {
        let kind = match self.required(item, "kind").as_str() {
            "key" => {
                self.keys(item, &["kind", "name", "key"]);
                let path = self.path(item, "key");
                let name = match self.optional(item, "name") {
                    name if name.is_empty() => file_stem(&path),
                    name => name,
                };
                TrustKind::Key { name, path }
            }
            "keyless" => {
                self.keys(item, &["kind", "issuer", "subject"]);
                let (issuer, subject) = (self.required(item, "issuer"), self.required(item, "subject"));
                TrustKind::Keyless { issuer, subject }
            }
            "unsigned" => {
                self.keys(item, &["kind", "i_understand"]);
                TrustKind::Unsigned { reason: self.required(item, "i_understand") }
            }
            "" => return None,
            other => {
                let message = format!("`{other}` is not one of key, keyless, unsigned");
                self.fault(item, message, None);
                return None;
            }
        };
        Some(TrustEntry { kind, line: item.spot.line })
    }
}

/// `/etc/dibw/keys/platform-team.pub` is `platform-team`.
fn file_stem(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.split_once('.').map_or(name, |(stem, _)| stem).to_owned()
}
