//! Text compared with a file kept under `tests/`; `DIBW_BLESS=1` writes the file in place of comparing. Called by all golden tests.

use std::fs;

use crate::dibw::workspace;

/// Demands that `actual` is what `tests/<path>` holds.
///
/// # Panics
/// When it is not, with both texts.
pub fn golden(path: &str, actual: &str) {
    let file = workspace().join("tests").join(path);
    if std::env::var_os("DIBW_BLESS").is_some_and(|value| !value.is_empty()) {
        let directory = file.parent().expect("it lies below tests/");
        fs::create_dir_all(directory).expect("golden directories can be made");
        fs::write(&file, actual).expect("golden files can be written");
        return;
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        expected == actual,
        "{} differs (DIBW_BLESS=1 accepts):\n--- expected\n{expected}--- actual\n{actual}",
        file.display()
    );
}
