//! The sections that grant nothing: `inputs`, `secrets`, `repositories`, `audit`, `environment`, `check`. Called by `file::parse`.

use std::collections::BTreeMap;

use super::reader::Reader;
use crate::resources::parse_bytes;
use crate::settings::{Input, Repository, RepositorySource, Secret, SecretSource, Settings};
use crate::yaml::{Entry, Node};

/// The most of an input where the file does not say.
const INPUT_BYTES: u64 = 1 << 20;

impl Reader<'_> {
    pub(super) fn settings(&mut self, root: &Node) -> Settings {
        let mut settings = Settings {
            inputs: self.named(root, "inputs", Self::input),
            secrets: self.named(root, "secrets", Self::secret),
            repositories: self.named(root, "repositories", Self::repository),
            ..Settings::default()
        };
        if let Some(audit) = root.get("audit") {
            self.keys(audit, &["log", "chain", "on_write_failure"]);
            self.only(audit, "chain", "true");
            self.only(audit, "on_write_failure", "abort");
            settings.audit_log = audit.get("log").map(|_| self.path(audit, "log"));
        }
        if let Some(environment) = root.get("environment") {
            self.keys(environment, &["evaluate", "exports", "functions"]);
            self.only(environment, "evaluate", "once");
            self.only(environment, "functions", "drop");
            settings.environment_exports = environment.get("exports").map(|n| self.texts(n));
            settings.drop_functions = environment.get("functions").is_some();
        }
        if let Some(check) = root.get("check") {
            self.keys(check, &["fail_on"]);
            settings.fail_on = check.get("fail_on").and_then(|n| self.parsed(n, parse_score));
        }
        settings
    }

    fn named<T>(
        &mut self,
        root: &Node,
        section: &str,
        read: fn(&mut Self, &Entry) -> T,
    ) -> BTreeMap<String, T> {
        let Some(node) = root.get(section) else { return BTreeMap::new() };
        let entries = self.entries(node);
        for entry in entries.iter().filter(|entry| !is_name(&entry.key)) {
            let message = format!("`{}` is not a name of letters, digits, `-`, `_` and `.`", entry.key);
            self.wrong.push(entry.spot.error(message));
        }
        entries.iter().map(|entry| (entry.key.clone(), read(self, entry))).collect()
    }

    fn input(&mut self, entry: &Entry) -> Input {
        self.keys(&entry.value, &["path", "max_bytes"]);
        let max_bytes = entry.value.get("max_bytes").and_then(|n| self.parsed(n, parse_bytes));
        Input {
            path: self.path(&entry.value, "path"),
            max_bytes: max_bytes.unwrap_or(INPUT_BYTES),
            line: entry.spot.line,
        }
    }

    fn secret(&mut self, entry: &Entry) -> Secret {
        let node = &entry.value;
        self.keys(node, &["path", "env"]);
        let source = match (node.get("path"), node.get("env")) {
            (Some(_), None) => SecretSource::Path(self.path(node, "path")),
            (None, Some(_)) => SecretSource::Variable(self.required(node, "env")),
            (None, None) | (Some(_), Some(_)) => {
                self.fault(node, "a secret has either `path` or `env`".to_owned(), None);
                SecretSource::Path(String::new())
            }
        };
        Secret { source, line: entry.spot.line }
    }

    fn repository(&mut self, entry: &Entry) -> Repository {
        let node = &entry.value;
        self.keys(node, &["url", "line", "key", "suites", "components"]);
        let source = match (node.get("line"), node.get("url")) {
            (Some(_), None) => RepositorySource::Line(self.required(node, "line")),
            (None, Some(_)) => RepositorySource::Parts {
                url: self.required(node, "url"),
                suites: node.get("suites").map(|n| self.texts(n)).unwrap_or_default(),
                components: node.get("components").map(|n| self.texts(n)).unwrap_or_default(),
            },
            (None, None) | (Some(_), Some(_)) => {
                self.fault(node, "a repository has either `url` or `line`".to_owned(), None);
                RepositorySource::Line(String::new())
            }
        };
        Repository { source, key: self.path(node, "key"), line: entry.spot.line }
    }
}

fn parse_score(text: &str) -> Result<f64, String> {
    let score = text.parse::<f64>().ok().filter(|score| (0.0..=10.0).contains(score));
    score.ok_or_else(|| format!("`{text}` is not a number from 0 to 10"))
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}
