//! The form of text: spaces, not tabs, before the first word; a newline at the end.

use super::documents::ends_with_newline;
use super::{Key, Subject};

pub(super) fn check(subject: &mut Subject<'_>) {
    for (number, line) in subject.lines() {
        let indentation = &line[..line.len() - line.trim_start_matches([' ', '\t']).len()];
        if indentation.contains('\t') {
            subject.find(Key::Named("tabindent"), number, "indented with a tab", "use spaces");
        }
    }
    if !ends_with_newline(subject.text) {
        let line = subject.text.lines().count();
        subject.find(Key::Named("newline"), line, "no newline at the end of the file", "add one");
    }
}
