//! Which checks are switched off: `# dib-lint: disable=KEY...` in a file, `ignore=` in section `[dib-lint]` of `tox.ini`.

use std::collections::BTreeSet;

/// Keys of checks that are off.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exclusions(BTreeSet<String>);

impl Exclusions {
    /// Those of a `tox.ini`: words after `ignore =` and on the indented lines below.
    pub fn of_tox(text: &str) -> Self {
        let mut keys = BTreeSet::new();
        let (mut in_section, mut in_value) = (false, false);
        for line in text.lines() {
            if line.starts_with('[') {
                in_section = line.trim_end() == "[dib-lint]";
                in_value = false;
            } else if in_section && line.starts_with([' ', '\t']) {
                keys.extend(words(if in_value { line } else { "" }));
            } else if in_section && let Some((key, value)) = line.split_once('=') {
                in_value = key.trim_end() == "ignore";
                keys.extend(words(if in_value { value } else { "" }));
            } else {
                in_value = false;
            }
        }
        Self(keys)
    }

    /// Those that a file has for itself, at the beginning of lines.
    pub(super) fn of_file(text: &str) -> Self {
        let lines = text.lines().filter_map(|line| line.strip_prefix("# dib-lint: disable="));
        Self(lines.flat_map(words).collect())
    }

    /// These and those.
    #[must_use]
    pub(super) fn with(&self, more: Self) -> Self {
        Self(self.0.union(&more.0).cloned().collect())
    }

    /// Whether a key is among them.
    pub(super) fn has(&self, key: &str) -> bool {
        self.0.contains(key)
    }
}

fn words(text: &str) -> impl Iterator<Item = String> + use<'_> {
    text.split_whitespace().map(str::to_owned)
}
