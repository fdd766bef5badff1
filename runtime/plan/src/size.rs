//! Sizes: the texts of layouts and options, and how large an image must be for its tree. All results are bytes.
//! Knows nothing of partitions. Called by `layout`, by the command line and by the engine.
//! The grammar and the rules are diskimage-builder's (compat/CONTRACT.md 5.3 and 1.6).

use std::fmt;

use serde::{Deserialize, Serialize};

/// Bytes in a MiB.
pub const MIB: u64 = 1 << 20;
/// Image sizes are multiples of this.
const IMAGE_GRANULE: u64 = 64 << 10;
/// Share of a file system that the tree may fill; the rest is for metadata and use.
const FILL: f64 = 0.6;
/// What diskimage-builder adds for an EFI system partition.
pub(crate) const EFI_MIB: u64 = 525;

/// Factor by unit; the case of a unit matters.
const UNITS: [(&str, u64); 14] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1000),
    ("T", 1_000_000_000_000),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
    ("K", 1000),
    ("B", 1),
    ("", 1),
];

/// Why a text is no size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SizeError {
    /// It is not a number and a unit.
    Spec(String),
    /// The unit is not known.
    Unit(String),
    /// The number is none, like `1.2.3`.
    Number(String),
    /// It does not fit 64 bits.
    TooLarge(String),
    /// The share is no number.
    Percent(String),
}

impl fmt::Display for SizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spec(text) => write!(f, "Invalid size unit spec [{text}]"),
            Self::Unit(unit) => write!(f, "unit_str [{unit}] not known"),
            Self::Number(text) => write!(f, "could not convert string to float: '{text}'"),
            Self::TooLarge(text) => write!(f, "size [{text}] is too large"),
            Self::Percent(text) => write!(f, "[{text}] is not a share like 30%"),
        }
    }
}

impl std::error::Error for SizeError {}

/// A size as written: absolute, or a share of what is left.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SizeSpec {
    /// Bytes.
    Bytes(u64),
    /// Percent of the reference; the grammar does not bound it.
    Percent(f64),
}

impl SizeSpec {
    /// Reads `30%`, `8MiB`, `4 GiB`, `4096`.
    ///
    /// # Errors
    /// Anything else.
    pub fn parse(text: &str) -> Result<Self, SizeError> {
        let Some(number) = text.strip_suffix('%') else {
            return parse_absolute(text).map(Self::Bytes);
        };
        match number.trim().parse::<f64>() {
            Ok(percent) if percent.is_finite() => Ok(Self::Percent(percent)),
            _ => Err(SizeError::Percent(text.to_owned())),
        }
    }

    /// Bytes, with `reference` bytes as 100 %, rounded down. A negative share is 0.
    pub fn of(self, reference: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            // Lossless enough: a double counts bytes exactly up to 8 PiB.
            Self::Percent(percent) => (reference as f64 * percent / 100.0) as u64,
        }
    }
}

/// Reads a number and a unit: `1.5GiB`, `200 M`, `4096`. No number counts as one (`GiB`), so an empty text is one byte.
/// `KiB MiB GiB TiB` are powers of 1024; `KB MB GB TB K M G T` of 1000. The result is rounded down.
///
/// # Errors
/// Another form, an unknown unit, a number like `1.2.3`, more than 64 bits.
pub fn parse_absolute(text: &str) -> Result<u64, SizeError> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at(digits);
    let unit = rest.strip_prefix(' ').unwrap_or(rest);
    if !unit.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(SizeError::Spec(text.to_owned()));
    }
    let Some((_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(SizeError::Unit(unit.to_owned()));
    };
    let bytes = if number.is_empty() {
        *factor as f64
    } else {
        let value: f64 = number.parse().map_err(|_| SizeError::Number(number.to_owned()))?;
        value * *factor as f64
    };
    // 2^63 keeps sums of a few sizes inside 64 bits.
    if bytes >= (1_u64 << 63) as f64 {
        return Err(SizeError::TooLarge(text.to_owned()));
    }
    Ok(bytes as u64)
}

/// How the size of an image is found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SizeRules {
    /// The size the user gave, in bytes; none means from the tree.
    #[serde(default)]
    pub image_size: Option<u64>,
    /// Room beside the tree, in bytes, in place of the default share.
    #[serde(default)]
    pub extra_size: Option<u64>,
    /// Size of an ext4 journal in MiB.
    pub journal_mib: u64,
    /// Type of the root file system: only ext4 gets room for a journal.
    pub root_fstype: String,
    /// Whether `block-device-efi` or one of its kin takes part, for which 525 MiB are added to a size from the tree.
    #[serde(default)]
    pub has_efi: bool,
    /// A size from the tree is diskimage-builder's to the byte: nothing is added for other partitions but that allowance.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub classic: bool,
}

/// The size of an image for a tree of `tree_kib` KiB (as `du` counts), in bytes, a multiple of 64 KiB.
/// `Layout::image_size` adds what the other partitions of a layout need.
pub fn auto_size(tree_kib: u64, rules: &SizeRules) -> u64 {
    image_size(tree_kib, rules, 0)
}

/// As `auto_size`, with `beside` bytes taken by partitions that hold nothing of the tree. They count when the size comes from the tree;
/// the fixed allowance for an EFI partition is part of them and not added twice.
pub(crate) fn image_size(tree_kib: u64, rules: &SizeRules, beside: u64) -> u64 {
    let efi = if rules.has_efi { EFI_MIB * MIB } else { 0 };
    let beside = if rules.classic { 0 } else { beside };
    let bytes = match rules.image_size {
        Some(bytes) => bytes,
        None => {
            let kib = match rules.extra_size {
                Some(extra) => tree_kib.saturating_add(extra / 1024),
                None => (tree_kib as f64 / FILL) as u64,
            };
            let journal = if rules.root_fstype == "ext4" { rules.journal_mib.saturating_mul(MIB) } else { 0 };
            let kib = kib.max(smallest(&rules.root_fstype, journal) / 1024);
            kib.saturating_mul(1024).saturating_add(journal).saturating_add(efi.max(beside))
        }
    };
    round_up(bytes, IMAGE_GRANULE)
}

/// The smallest size beside the journal that mkfs accepts for a type, where it is noticeable (xfsprogs 5.19, btrfs-progs 5.16; e2fsprogs
/// 1.47 refuses a journal larger than half of the file system, here with room for partition tables and alignment), in bytes.
fn smallest(fstype: &str, journal: u64) -> u64 {
    match fstype {
        "ext4" if journal > 0 => journal.saturating_add(16 * MIB),
        "xfs" => 300 * MIB,
        "btrfs" => 128 * MIB,
        _ => 0,
    }
}

/// The next multiple of `granule`.
pub(crate) fn round_up(value: u64, granule: u64) -> u64 {
    value.div_ceil(granule).saturating_mul(granule)
}

/// Bytes for people: `550 MiB`, `1.50 GiB`, `512 bytes`.
pub fn for_people(bytes: u64) -> String {
    for (unit, factor) in [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes >= factor {
            let whole = bytes / factor;
            return if bytes.is_multiple_of(factor) {
                format!("{whole} {unit}")
            } else {
                format!("{:.2} {unit}", bytes as f64 / factor as f64)
            };
        }
    }
    format!("{bytes} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_sizes() {
        let cases = [
            ("1TiB", 1_099_511_627_776),
            ("1GiB", 1_073_741_824),
            ("154MiB", 161_480_704),
            ("1KiB", 1024),
            ("1TB", 1_000_000_000_000),
            ("1GB", 1_000_000_000),
            ("1MB", 1_000_000),
            ("1KB", 1000),
            ("1T", 1_000_000_000_000),
            ("3G", 3_000_000_000),
            ("200M", 200_000_000),
            ("5K", 5000),
            ("7B", 7),
            ("198", 198),
            ("1.5 KiB", 1536),
            ("1.9", 1),
            (".5GiB", 536_870_912),
            ("2.KiB", 2048),
            ("GiB", 1_073_741_824),
            ("", 1),
            (" ", 1),
            ("0", 0),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse_absolute(text), Ok(bytes), "{text:?}");
        }
    }

    #[test]
    fn texts_that_are_no_sizes() {
        let cases = [
            ("747InVaLiDUnIt", "unit_str [InVaLiDUnIt] not known"),
            ("_+!HuHi+-=", "Invalid size unit spec [_+!HuHi+-=]"),
            ("1gib", "unit_str [gib] not known"),
            ("1  GiB", "Invalid size unit spec [1  GiB]"),
            ("-5MiB", "Invalid size unit spec [-5MiB]"),
            ("1_000", "unit_str [_000] not known"),
            ("1.2.3G", "could not convert string to float: '1.2.3'"),
            (".", "could not convert string to float: '.'"),
            ("99999999999TiB", "size [99999999999TiB] is too large"),
            ("x%", "[x%] is not a share like 30%"),
            ("inf%", "[inf%] is not a share like 30%"),
        ];
        for (text, message) in cases {
            assert_eq!(
                SizeSpec::parse(text).map_err(|error| error.to_string()),
                Err(message.to_owned()),
                "{text:?}"
            );
        }
    }

    #[test]
    fn shares_are_rounded_down() {
        for (text, reference, bytes) in
            [("54%", 1000, 540), ("0.1%", 1999, 1), ("150%", 100, 150), ("-1%", 100, 0), ("8MiB", 1, 8 * MIB)]
        {
            assert_eq!(SizeSpec::parse(text).map(|size| size.of(reference)), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn image_sizes_follow_the_tree() {
        let ext4 = SizeRules { journal_mib: 64, root_fstype: String::from("ext4"), ..SizeRules::default() };
        let ext2 = SizeRules { root_fstype: String::from("ext2"), ..ext4.clone() };
        let xfs = SizeRules { root_fstype: String::from("xfs"), ..ext4.clone() };
        let cases = [
            // 600 KiB / 0.6 = 1000 KiB, rounded up to 1024 KiB.
            ("no journal", ext2.clone(), 1 << 20),
            // A journal takes at most half of the file system.
            ("ext4 has a journal", ext4.clone(), 144 << 20),
            ("efi", SizeRules { has_efi: true, ..ext2.clone() }, 526 << 20),
            // 600 KiB + 2 MiB = 2648 KiB, rounded up to 2688 KiB.
            ("extra", SizeRules { extra_size: Some(2 << 20), ..ext2.clone() }, 2688 << 10),
            ("xfs has a least size", xfs, 300 << 20),
            ("given", SizeRules { image_size: Some(10 << 20), ..ext4.clone() }, 10 << 20),
            ("given, efi", SizeRules { image_size: Some(10 << 20), has_efi: true, ..ext4 }, 10 << 20),
        ];
        for (what, rules, bytes) in cases {
            assert_eq!(auto_size(600, &rules), bytes, "{what}");
        }
        assert_eq!(image_size(600, &ext2, 558 << 20), 559 << 20, "other partitions are added");
    }

    #[test]
    fn sizes_for_people() {
        for (bytes, text) in [(512, "512 bytes"), (550 << 20, "550 MiB"), (1536 << 20, "1.50 GiB")] {
            assert_eq!(for_people(bytes), text);
        }
    }
}
