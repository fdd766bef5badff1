//! Limits of a build that a ceiling sets: memory, processes, time, bytes from the network, disk.
//!
//! Must not know: how a limit is made real. Callers: policy files, the engine.

use serde::{Deserialize, Serialize};

/// The most a build may use; nothing: no limit of the policy's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Bytes of memory of a sandbox.
    pub memory: Option<u64>,
    /// Processes at once in a sandbox.
    pub pids: Option<u64>,
    /// Seconds that a build may take.
    pub wall: Option<u64>,
    /// Bytes that a build may download.
    pub net_bytes: Option<u64>,
    /// Bytes that a build may write to disk.
    pub disk: Option<u64>,
}

impl Resources {
    /// The keys of a policy file.
    pub const KEYS: [&'static str; 5] = ["memory", "pids", "wall", "net_bytes", "disk"];

    /// The tighter of two, limit by limit.
    #[must_use]
    pub fn tightest(self, other: Self) -> Self {
        let least = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
        Resources {
            memory: least(self.memory, other.memory),
            pids: least(self.pids, other.pids),
            wall: least(self.wall, other.wall),
            net_bytes: least(self.net_bytes, other.net_bytes),
            disk: least(self.disk, other.disk),
        }
    }
}

/// Reads a number of bytes above 0.
///
/// # Errors
/// It is something else.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    match crate::size::parse(text)? {
        0 => Err(format!("`{}` leaves nothing", crate::subject::escape(text))),
        bytes => Ok(bytes),
    }
}

/// Reads a time: digits and `s`, `m` or `h`. In seconds.
///
/// # Errors
/// It is something else, or zero.
pub fn parse_seconds(text: &str) -> Result<u64, String> {
    let units = [("s", 1), ("m", 60), ("h", 3600)];
    units
        .into_iter()
        .find_map(|(unit, seconds)| whole(text.strip_suffix(unit)?)?.checked_mul(seconds))
        .ok_or_else(|| format!("`{}` is not a time like 90s, 20m or 2h", crate::subject::escape(text)))
}

/// Reads a count.
///
/// # Errors
/// It is something else, or zero.
pub fn parse_count(text: &str) -> Result<u64, String> {
    whole(text).ok_or_else(|| format!("`{}` is not a whole number above 0", crate::subject::escape(text)))
}

fn whole(digits: &str) -> Option<u64> {
    let number = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<u64>().ok())??;
    (number > 0).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_limits_look_like() {
        assert_eq!(parse_bytes("64KiB"), Ok(65_536));
        assert_eq!(parse_bytes("2GiB"), Ok(2 << 30));
        assert_eq!(parse_bytes("100"), Ok(100));
        assert_eq!(parse_seconds("20m"), Ok(1200));
        assert_eq!(parse_seconds("2h"), Ok(7200));
        assert_eq!(parse_count("512"), Ok(512));
        for text in ["", "0", "-1", "2GB", "1.5GiB", "99999999999TiB", "+1"] {
            assert!(parse_bytes(text).is_err(), "{text}");
            assert!(parse_seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_tighter_limit_wins() {
        let one = Resources { memory: Some(5), pids: Some(1), ..Resources::default() };
        let other = Resources { memory: Some(3), wall: Some(9), ..Resources::default() };
        let both = Resources { memory: Some(3), pids: Some(1), wall: Some(9), ..Resources::default() };
        assert_eq!(one.tightest(other), both);
        assert_eq!(other.tightest(one), both);
    }
}
