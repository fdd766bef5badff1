//! What diskimage-builder was recorded to do with block device configurations (`compat/golden/*.json` beside the tree, or `DIBW_GOLDEN`).
//! Knows nothing of what is compared. Called by the tests of layouts.

use std::fs;
use std::path::{Path, PathBuf};

use dibw_plan::Faults;
use dibw_plan::layout::{self, Layout, LayoutParameters, RootDefaults};
use serde_json::Value;

/// The size the recordings were made with.
pub const IMAGE_SIZE: u64 = 10 << 30;

/// (recording, from, to): mended, so that the rest can be compared.
const MENDED: [(&str, &str, &str); 3] = [
    ("fixture.lvm_tree_multiple_partitions", "fck-passno", "fsck-passno"),
    ("fixture.lvm_tree_multiple_partitions", "'EF00'", "'ef'"),
    ("fixture.lvm_tree_multiple_partitions", "'EF02'", "'da'"),
];

/// The configuration of a recording, without what dibw refuses.
#[must_use]
pub fn mended(name: &str, text: &str) -> String {
    let mends = MENDED.iter().filter(|(recording, ..)| *recording == name);
    mends.fold(text.to_owned(), |text, (_, from, to)| text.replace(from, to))
}

/// All recordings by name, in order; none, with a word, where they are not at hand.
///
/// # Panics
/// When one can't be read.
#[must_use]
pub fn recordings() -> Vec<(String, Value)> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR"));
    let beside =
        || crates.ancestors().map(|above| above.join("shared/compat/golden")).find(|path| path.is_dir());
    let Some(folder) = std::env::var_os("DIBW_GOLDEN").map(PathBuf::from).or_else(beside) else {
        eprintln!("skipped: no recordings beside the tree");
        return Vec::new();
    };
    let Ok(entries) = fs::read_dir(&folder) else {
        eprintln!("skipped: no recordings in {}", folder.display());
        return Vec::new();
    };
    let mut recordings: Vec<(String, Value)> = entries
        .map(|entry| entry.expect("a recording can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            let name = path
                .file_stem()
                .expect("a recording can be read")
                .to_str()
                .expect("a recording can be read")
                .to_owned();
            (
                name,
                serde_json::from_str(&fs::read_to_string(&path).expect("a recording can be read"))
                    .expect("a recording can be read"),
            )
        })
        .collect();
    recordings.sort_by(|a, b| a.0.cmp(&b.0));
    recordings
}

/// What the recordings' root file systems took from the user.
#[must_use]
pub fn root_defaults() -> RootDefaults {
    RootDefaults {
        fstype: String::from("ext4"),
        label: None,
        opts: String::from("-i 4096 -J size=64"),
        ext4_opts: String::new(),
    }
}

/// Reads a recorded configuration.
///
/// # Errors
/// What is wrong with it.
pub fn parse(text: &str) -> Result<Layout, Faults> {
    let parameters =
        LayoutParameters { file: "golden", root: &root_defaults(), sector_size: None, seed: b"seed" };
    layout::parse(text, &parameters)
}
