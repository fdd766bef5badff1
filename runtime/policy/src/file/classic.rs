//! The `classic` section: how shell hooks are caged. Called by `file::parse`.

use super::reader::Reader;
use crate::address::Cidr;
use crate::confinement::{Classic, ClassicRule, Level};
use crate::identity::parse_digest;
use crate::url::Url;
use crate::yaml::Node;

impl Reader<'_> {
    pub(super) fn classic(&mut self, node: &Node) -> Classic {
        self.keys(node, &["default", "allow"]);
        let default = node.get("default").and_then(|n| {
            let level = self.level(n)?;
            if level == Level::Host {
                let hint = "list the elements under `classic.allow`, each with reason, owner and expires";
                self.fault(n, "`host` cannot be the default".to_owned(), Some(hint.to_owned()));
            }
            Some((level, n.spot.line))
        });
        let rules = node.get("allow").map(|n| self.items(n)).unwrap_or_default();
        Classic { default, allow: rules.iter().filter_map(|n| self.classic_rule(n)).collect() }
    }

    fn classic_rule(&mut self, node: &Node) -> Option<ClassicRule> {
        let keys = ["element", "level", "net", "env", "tree", "reason", "owner", "expires"];
        self.keys(node, &keys);
        let element = self.required(node, "element");
        let (reason, owner, expires) =
            (self.optional(node, "reason"), self.optional(node, "owner"), self.optional(node, "expires"));
        let level = match node.get("level") {
            Some(found) => self.level(found)?,
            None => {
                self.fault(node, "`level` is missing".to_owned(), None);
                return None;
            }
        };
        if level == Level::Host && [&reason, &owner, &expires].iter().any(|t| t.trim().is_empty()) {
            self.fault(node, "level `host` needs `reason`, `owner` and `expires`".to_owned(), None);
        }
        self.check_expiry(node, &element, &expires);
        let net = node.get("net").map(|n| self.origins(n));
        if let Some(found) = node.get("net")
            && level != Level::Strict
        {
            let hint = "leave `net` out, or say `level: strict`";
            self.fault(found, format!("`net` is for level `strict`, not `{level}`"), Some(hint.to_owned()));
        }
        Some(ClassicRule {
            element,
            level,
            net,
            env: node.get("env").map(|n| self.texts(n)),
            tree: node.get("tree").and_then(|n| self.parsed(n, parse_digest)),
            reason,
            owner,
            expires,
            line: node.spot.line,
        })
    }

    /// `[{origin: "https://deb.debian.org"}]`; `{address: "10.0.0.0/8"}` lets origins lie on addresses that are not public.
    fn origins(&mut self, node: &Node) -> Vec<String> {
        let mut origins = Vec::new();
        for item in self.items(node) {
            self.keys(item, &["origin", "address"]);
            if let Some(address) = item.get("address") {
                origins.extend(self.parsed(address, str::parse::<Cidr>).map(|block| block.to_string()));
                continue;
            }
            let origin = self.required(item, "origin");
            let whole = Url::parse(&origin).is_ok_and(|url| url.origin() == origin);
            if !origin.is_empty() && !whole {
                self.fault(item, format!("`{origin}` is not an origin like https://deb.debian.org"), None);
            }
            origins.push(origin);
        }
        origins
    }

    fn check_expiry(&mut self, node: &Node, element: &str, expires: &str) {
        if expires.is_empty() {
            return;
        }
        if !is_date(expires) {
            self.fault(node, format!("`expires: {expires}` is not a date like 2030-12-31"), None);
        } else if expires < self.today {
            let hint = format!("remove the exception for `{element}` or agree on a new date");
            self.fault(node, format!("the exception for `{element}` expired on {expires}"), Some(hint));
        }
    }

    pub(super) fn level(&mut self, node: &Node) -> Option<Level> {
        self.parsed(node, |text| text.parse::<Level>())
    }
}

/// `YYYY-MM-DD` with a month and a day that exist.
fn is_date(text: &str) -> bool {
    let shape = |(i, c): (usize, char)| if i == 4 || i == 7 { c == '-' } else { c.is_ascii_digit() };
    let number = |range: std::ops::Range<usize>| text.get(range).and_then(|digits| digits.parse::<u8>().ok());
    text.len() == 10
        && text.chars().enumerate().all(shape)
        && number(5..7).is_some_and(|month| (1..=12).contains(&month))
        && number(8..10).is_some_and(|day| (1..=31).contains(&day))
}
