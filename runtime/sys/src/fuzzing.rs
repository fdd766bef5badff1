//! A way in for the fuzz targets (tests/fuzz) to what travels between the engine and the processes it starts.
//! Must not do more than the channel does with a line. Called by nothing else.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::spec::{Job, Report};

/// Reads a line as either side would. What is read must be written and read again the same; the answer is whether it was read at all.
pub fn message(line: &str) -> bool {
    round_trip::<Job>(line) | round_trip::<Report>(line)
}

fn round_trip<T: Serialize + DeserializeOwned>(line: &str) -> bool {
    let Ok(message) = serde_json::from_str::<T>(line) else { return false };
    let once = serde_json::to_string(&message).expect("a message that was read can be written");
    assert!(!once.contains('\n'), "a message is one line");
    let again: T = serde_json::from_str(&once).expect("a message that was written can be read");
    assert_eq!(serde_json::to_string(&again).ok(), Some(once));
    true
}
