//! What may be mounted in the target for an element: kinds, never options.
//!
//! Callers: [`crate::need`], [`crate::requirement`], the host's mount capability.

use std::fmt;
use std::str::FromStr;

/// A kind of mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MountKind {
    /// Memory, empty, gone after the hook.
    Tmpfs,
    /// The element's own directory, kept from build to build.
    Cache,
    /// The EFI system partition of the image.
    Esp,
}

impl MountKind {
    /// Every kind.
    pub const ALL: [MountKind; 3] = [MountKind::Tmpfs, MountKind::Cache, MountKind::Esp];

    /// The word in needs and policies.
    pub const fn name(self) -> &'static str {
        match self {
            MountKind::Tmpfs => "tmpfs",
            MountKind::Cache => "cache",
            MountKind::Esp => "esp",
        }
    }
}

impl fmt::Display for MountKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for MountKind {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        MountKind::ALL
            .into_iter()
            .find(|kind| kind.name() == word)
            .ok_or_else(|| format!("`{}` is not one of tmpfs, cache, esp", crate::subject::escape(word)))
    }
}
