//! Stand-in until the library lands.

/// A file.
pub struct LibraryFile {
    /// Path.
    pub path: &'static str,
    /// Text.
    pub text: &'static str,
    /// Mode.
    pub executable: bool,
}

/// All.
pub const FILES: [LibraryFile; 0] = [];
