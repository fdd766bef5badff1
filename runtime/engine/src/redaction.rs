//! Takes secrets out of everything that is shown or handed on: events, the failure that ends a build, what programs print.
//!
//! A value of fewer than [`SHORTEST`] bytes is left alone: it would be found everywhere. A value of several lines is also looked for
//! line by line. What a program makes of a secret (base64, a hash) is not known here.

use std::rc::Rc;

use crate::events::{Event, Events, printable};
use crate::failure::Failure;
use crate::offers::{Offers, Secret};

/// Shortest text that is looked for, in bytes.
const SHORTEST: usize = 8;

/// What stands in place of a secret.
const SHOWN: &str = "***";

/// What is looked for.
#[derive(Debug, Default)]
pub struct Redactor {
    /// The longest first, so that a part does not spoil the whole.
    words: Vec<String>,
}

impl Redactor {
    /// For the secrets that are offered.
    pub fn new(offers: &Offers) -> Self {
        let mut words: Vec<String> = offers.secrets.values().flat_map(words_of).collect();
        words.sort_by(|left, right| right.len().cmp(&left.len()).then_with(|| left.cmp(right)));
        words.dedup();
        Self { words }
    }

    /// The text without secrets.
    pub fn text(&self, text: &str) -> String {
        self.words.iter().fold(text.to_owned(), |text, word| text.replace(word.as_str(), SHOWN))
    }

    /// The bytes without secrets.
    pub fn bytes(&self, bytes: Vec<u8>) -> Vec<u8> {
        match self.reveals(&bytes) {
            false => bytes,
            true => self.words.iter().fold(bytes, |bytes, word| replace(&bytes, word.as_bytes())),
        }
    }

    /// The same for output that was cut at `limit`: what may be the first part of a secret at its end is left out.
    pub fn captured(&self, mut bytes: Vec<u8>, limit: usize) -> Vec<u8> {
        let longest = self.words.first().map_or(0, String::len);
        if bytes.len() >= limit {
            bytes.truncate(limit.saturating_sub(longest));
        }
        self.bytes(bytes)
    }

    /// Whether a secret is in there.
    pub fn reveals(&self, bytes: &[u8]) -> bool {
        self.words.iter().any(|word| find(bytes, word.as_bytes()).is_some())
    }

    /// The failure without secrets.
    pub(crate) fn failure(&self, failure: Failure) -> Failure {
        let all = |lines: Vec<String>| lines.iter().map(|line| self.text(line)).collect();
        Failure {
            message: self.text(&failure.message),
            causes: all(failure.causes),
            tail: all(failure.tail),
            hint: failure.hint.map(|hint| self.text(&hint)),
            clean_up: all(failure.clean_up),
            kind: failure.kind,
            status: failure.status,
            full: failure.full,
        }
    }
}

/// The value, its lines, and both as they are printed.
fn words_of(secret: &Secret) -> Vec<String> {
    let text = String::from_utf8_lossy(secret.reveal()).into_owned();
    let whole = text.trim();
    let lines = whole.lines().map(str::trim);
    let words: Vec<String> = lines.chain([whole]).map(str::to_owned).collect();
    let printed: Vec<String> = words.iter().map(|word| printable(word)).collect();
    words.into_iter().chain(printed).filter(|word| word.len() >= SHORTEST).collect()
}

fn find(bytes: &[u8], word: &[u8]) -> Option<usize> {
    bytes.windows(word.len()).position(|window| window == word)
}

fn replace(mut bytes: &[u8], word: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::with_capacity(bytes.len());
    while let Some(at) = find(bytes, word) {
        replaced.extend_from_slice(&bytes[..at]);
        replaced.extend_from_slice(SHOWN.as_bytes());
        bytes = &bytes[at + word.len()..];
    }
    replaced.extend_from_slice(bytes);
    replaced
}

/// A listener who is told nothing secret.
pub(crate) struct Redacted {
    pub(crate) listener: Rc<dyn Events>,
    pub(crate) redactor: Rc<Redactor>,
}

impl Events for Redacted {
    fn tell(&self, event: Event) {
        self.listener.tell(match event {
            Event::Output { line } => Event::Output { line: self.redactor.text(&line) },
            Event::Message { level, element, text } => {
                Event::Message { level, element, text: self.redactor.text(&text) }
            }
            // What these say comes from the plan, where no secret is.
            other @ (Event::Started { .. }
            | Event::Step { .. }
            | Event::StepDone { .. }
            | Event::Artifact { .. }
            | Event::Finished { .. }) => other,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redactor(secrets: &[&str]) -> Redactor {
        let secrets = secrets.iter().enumerate();
        let secrets =
            secrets.map(|(n, text)| (n.to_string(), Secret::new(text.as_bytes().to_vec()))).collect();
        Redactor::new(&Offers { secrets, ..Offers::default() })
    }

    #[test]
    fn secrets_are_starred_wherever_they_stand() {
        let redactor =
            redactor(&["hunter2hunter2\n", "short", "first line\nsecond line\nxy\n", "hunter2hunter2-long"]);
        for (text, shown) in [
            ("password=hunter2hunter2, hunter2hunter2", "password=***, ***"),
            ("hunter2hunter2-long", "***"),
            ("a short one", "a short one"),
            ("> second line", "> ***"),
            ("xy", "xy"),
        ] {
            assert_eq!(redactor.text(text), shown);
            assert_eq!(redactor.bytes(text.as_bytes().to_vec()), shown.as_bytes());
        }
        let digits = "0123456789".repeat(4);
        let cut = redactor.captured(format!("{digits}hunter2hun").into_bytes(), 50);
        assert!(!cut.is_empty() && digits.as_bytes().starts_with(&cut), "{cut:?}");
        assert_eq!(redactor.captured(b"0123456789hunter2hun".to_vec(), 21), b"0123456789hunter2hun");
        assert_eq!(format!("{:?}", Secret::new(b"hunter2hunter2".to_vec())), "***");
    }
}
