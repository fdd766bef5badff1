//! Numbers of bytes as policies spell them: `512`, `64KiB`, `2GiB`.
//!
//! Callers: [`crate::need`], policy files.

/// Parses a number of bytes.
///
/// # Errors
/// Says what is wrong with it.
pub fn parse(text: &str) -> Result<u64, String> {
    let wrong =
        || format!("`{}` is not a size like 512, 64KiB, 100MiB or 2GiB", crate::subject::escape(text));
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err(wrong()),
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("512", Some(512)),
            ("64KiB", Some(65_536)),
            ("3MiB", Some(3_145_728)),
            ("2GiB", Some(2_147_483_648)),
            ("1TiB", Some(1_099_511_627_776)),
            ("", None),
            ("MiB", None),
            ("1 MiB", None),
            ("1.5GiB", None),
            ("1MB", None),
            ("-1", None),
            ("16777216TiB", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(parse(text).ok(), bytes, "{text}");
        }
    }
}
