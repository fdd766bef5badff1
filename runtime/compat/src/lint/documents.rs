//! Data files: lists in order, YAML and JSON that can be read, documentation in one format.

use dibw_policy::yaml;

use super::{Key, Subject};

pub(super) fn check(subject: &mut Subject<'_>) {
    markdown(subject);
    if subject.name == "element-deps" {
        sorted(subject);
    }
    if subject.name.starts_with("source-repository-") && !ends_with_newline(subject.text) {
        let message = "no newline at the end; the last line is not read";
        subject.find(Key::Always, subject.text.lines().count(), message, "add one");
    }
    if subject.extension() == "yaml" {
        readable_yaml(subject);
    }
    if subject.name == "pkg-map" && !subject.file.executable {
        readable_json(subject);
    }
}

/// Documentation is reStructuredText.
pub(super) fn markdown(subject: &mut Subject<'_>) {
    if subject.extension() == "md" {
        let message = "documentation in Markdown";
        subject.find(Key::Named("mddocs"), 0, message, "write it as .rst, as the rest of the documentation");
    }
}

pub(super) fn ends_with_newline(text: &str) -> bool {
    text.is_empty() || text.ends_with('\n')
}

/// In the order of the bytes; blank lines don't count.
fn sorted(subject: &mut Subject<'_>) {
    let lines: Vec<_> = subject.lines().filter(|(_, line)| !line.trim().is_empty()).collect();
    if let Some(pair) = lines.windows(2).find(|pair| pair[0].1 > pair[1].1) {
        let message = format!("not sorted: `{}` comes after `{}`", pair[1].1, pair[0].1);
        let hint = format!("LC_ALL=C sort -o {0} {0}", subject.file.path);
        subject.find(Key::Always, pair[1].0, message, hint);
    }
}

fn readable_yaml(subject: &mut Subject<'_>) {
    if let Err(error) = yaml::load(subject.text) {
        subject.find(
            Key::Always,
            error.line,
            format!("not YAML that can be read: {}", error.message),
            error.hint.unwrap_or_else(|| "one document, spaces for indentation, no tags".to_owned()),
        );
    }
}

fn readable_json(subject: &mut Subject<'_>) {
    if let Err(error) = serde_json::from_str::<serde_json::Value>(subject.text) {
        let hint = "JSON has no comments and no comma after the last entry";
        subject.find(Key::Always, error.line(), format!("not JSON that can be read: {error}"), hint);
    }
}
