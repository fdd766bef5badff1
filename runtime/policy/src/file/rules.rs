//! Capabilities and their values, as texts or in the longer forms that read better. Called by the sections `ceiling`, `grants`, `never`.

use super::reader::Reader;
use crate::capability::{Capability, ServiceAction};
use crate::need::Need;
use crate::policy::Rule;
use crate::yaml::{Entry, Node};

impl Reader<'_> {
    /// `{<capability>: [values]}`. `place` is where it stands, as in `grants[0].allow`.
    pub(super) fn rules(&mut self, node: &Node, place: &str) -> Vec<Rule> {
        let Some(entries) = node.as_mapping() else {
            self.fault(node, format!("capabilities are expected here, not {}", node.kind()), None);
            return Vec::new();
        };
        entries.iter().flat_map(|entry| self.rules_of(entry, place)).collect()
    }

    pub(super) fn rules_of(&mut self, entry: &Entry, place: &str) -> Vec<Rule> {
        let capability: Capability = match entry.key.parse() {
            Ok(capability) => capability,
            Err(wrong) => {
                self.wrong.push(entry.spot.error(wrong));
                return Vec::new();
            }
        };
        let items = match (&entry.value, capability) {
            (node, Capability::PackagesInstall | Capability::PackagesRemove)
                if node.as_mapping().is_some() =>
            {
                self.package_names(node)
            }
            (node, _) if node.as_text().is_some() => std::slice::from_ref(node),
            (node, _) => self.items(node),
        };
        let mut rules: Vec<Rule> = Vec::new();
        for item in items {
            for value in self.values(capability, item) {
                let key = format!("{place}.{capability}[{}]", rules.len());
                match Need::new(capability, &value) {
                    Ok(need) => {
                        rules.push(Rule { need, file: self.file.to_owned(), line: item.spot.line, key })
                    }
                    Err(wrong) => self.fault(item, wrong, None),
                }
            }
        }
        rules
    }

    /// `{names: [..]}`. From which repository a package comes is the package manager's choice, so `repos` would be a promise that
    /// nothing keeps.
    fn package_names<'n>(&mut self, node: &'n Node) -> &'n [Node] {
        self.keys(node, &["names", "repos"]);
        if let Some(found) = node.get("repos") {
            let hint = "list the packages under `names`; which repositories exist is `packages.repo_add`";
            let message = "`repos` is not enforced by this version of dibw, so it is refused".to_owned();
            self.fault(found, message, Some(hint.to_owned()));
        }
        match node.get("names") {
            Some(names) => self.items(names),
            None => {
                self.fault(node, "`names` is missing".to_owned(), None);
                &[]
            }
        }
    }

    /// A scalar is a value as manifests write it; mappings are longer ways to say the same.
    fn values(&mut self, capability: Capability, item: &Node) -> Vec<String> {
        if item.as_mapping().is_none() {
            return vec![self.text(item)];
        }
        match capability {
            Capability::ServiceSet => self.service_values(item),
            Capability::NetFetch => self.fetch_value(item),
            Capability::SecretUse => self.secret_value(item),
            Capability::MountRequest => {
                self.keys(item, &["kind", "path"]);
                vec![format!("{} {}", self.required(item, "kind"), self.required(item, "path"))]
            }
            Capability::Log
            | Capability::Config
            | Capability::Facts
            | Capability::TargetRead
            | Capability::TargetWrite
            | Capability::TargetWritePrivileged
            | Capability::TargetExec
            | Capability::PackagesInstall
            | Capability::PackagesRemove
            | Capability::UserAdd
            | Capability::UserPrivileged
            | Capability::HostEnv
            | Capability::EnvSet
            | Capability::PackagesRepoAdd
            | Capability::NetAddress
            | Capability::HostInput
            | Capability::CacheRw
            | Capability::BlockdevContribute
            | Capability::KernelCmdline
            | Capability::KernelCmdlineUnsafe
            | Capability::KernelModules
            | Capability::Sysctl
            | Capability::BootloaderInstall
            | Capability::ImageEmit => {
                self.fault(item, format!("a value of {capability} is a text, not a mapping"), None);
                Vec::new()
            }
        }
    }

    /// `{enable: [units], mask: [units]}`
    fn service_values(&mut self, item: &Node) -> Vec<String> {
        self.keys(item, &ServiceAction::ALL.map(ServiceAction::name));
        let mut values = Vec::new();
        for entry in item.as_mapping().unwrap_or_default() {
            values.extend(self.texts(&entry.value).iter().map(|unit| format!("{} {unit}", entry.key)));
        }
        values
    }

    /// `{origin: "https://mirror.example", path: /pool/, sha256: required}`
    fn fetch_value(&mut self, item: &Node) -> Vec<String> {
        self.keys(item, &["origin", "path", "sha256"]);
        let origin = self.required(item, "origin");
        let path = item.get("path").map_or_else(|| "/".to_owned(), |n| self.text(n));
        if !path.starts_with('/') {
            self.fault(item, format!("`path: {path}` does not begin with `/`"), None);
        }
        let checksum = match item.get("sha256").map(|n| self.text(n)) {
            None => "required".to_owned(),
            Some(word) if word == "tofu" => "first-use".to_owned(),
            Some(word) => word,
        };
        vec![format!("{}{path} {checksum}", origin.trim_end_matches('/'))]
    }

    /// `{name: token, header: "https://x.example"}` or `{name: key, file: /etc/x/key}`
    fn secret_value(&mut self, item: &Node) -> Vec<String> {
        self.keys(item, &["name", "file", "header"]);
        let name = self.required(item, "name");
        let sinks = ["file", "header"].into_iter().filter_map(|sink| Some((sink, item.get(sink)?)));
        let values: Vec<String> = sinks.map(|(sink, n)| format!("{name} {sink} {}", self.text(n))).collect();
        if values.is_empty() {
            self.fault(item, "`file` or `header` is missing".to_owned(), None);
        }
        values
    }
}
