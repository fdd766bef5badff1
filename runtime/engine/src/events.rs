//! What a build tells while it runs, as data. The command line turns it into a progress line, plain lines or JSON.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How much a message matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the usual four")]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

/// What the layer cache said of a step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum Cached {
    /// It has no layer: it does not change the target, or not only the target.
    #[default]
    No,
    /// A layer of an earlier build was used.
    Hit {
        /// What the step took when the layer was made.
        #[serde(with = "seconds")]
        saved: Duration,
    },
    /// It ran.
    Miss {
        /// Why no layer could be used, in a few words.
        reason: String,
    },
}

impl Cached {
    /// Whether there is nothing to say.
    pub fn is_no(&self) -> bool {
        *self == Self::No
    }
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Event {
    /// The build has begun.
    Started {
        /// Digest of the plan.
        plan: String,
        /// Number of steps.
        steps: usize,
    },
    /// A step has begun.
    Step {
        /// From 1.
        number: usize,
        /// Phase, or empty between phases.
        phase: String,
        /// The element it is done for, or empty.
        element: String,
        /// What is done, in a few words.
        title: String,
    },
    /// A line that a hook or tool wrote.
    Output {
        /// The line, control characters escaped.
        line: String,
    },
    /// A message of the runtime or of a typed element.
    Message {
        /// How much it matters.
        level: Level,
        /// The element that said it, or empty.
        element: String,
        /// One line.
        text: String,
    },
    /// The current step is done.
    StepDone {
        /// From 1.
        number: usize,
        /// How long it took.
        #[serde(with = "seconds")]
        took: Duration,
        /// What the layer cache said of it.
        #[serde(skip_serializing_if = "Cached::is_no")]
        cache: Cached,
    },
    /// An artifact is whole and in place.
    Artifact {
        /// Where.
        path: PathBuf,
        /// Size in bytes.
        bytes: u64,
        /// SHA-256, hexadecimal, where it was taken.
        sha256: Option<String>,
    },
    /// The build ended well.
    Finished {
        /// How long it took.
        #[serde(with = "seconds")]
        took: Duration,
    },
}

/// Durations as seconds, to the millisecond.
pub(crate) mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(took: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64((took.as_secs_f64() * 1000.0).round() / 1000.0)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let seconds = f64::deserialize(from)?;
        Duration::try_from_secs_f64(seconds).map_err(serde::de::Error::custom)
    }
}

/// Who listens.
pub trait Events {
    /// Takes note of one event.
    fn tell(&self, event: Event);
}

/// Replaces control, bidirectional and zero-width characters, so that a line cannot forge or hide another.
pub fn printable(line: &str) -> String {
    line.chars()
        .map(|c| match c {
            '\t' => ' ',
            c if c.is_control() => '\u{fffd}',
            '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => {
                '\u{fffd}'
            }
            c => c,
        })
        .collect()
}
