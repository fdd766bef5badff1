//! Owns what a directory is besides its entries: mode, owner, times and extended attributes. For `/` of the target these
//! come from the topmost layer alone, so each new layer must repeat them.
//! Must not touch entries. Called by `overlay`.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{
    AtFlags, CWD, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags, chmod, chown, lgetxattr, llistxattr,
    lsetxattr, stat, utimensat,
};

/// The kernel's own bookkeeping, which must not be carried from layer to layer.
const OVERLAY_PREFIX: &[u8] = b"trusted.overlay.";
/// The kernel's limit for a list of names and for a value.
const LARGEST_XATTR: usize = 65_536;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RootIdentity {
    mode: u32,
    uid: u32,
    gid: u32,
    modified: Option<(i64, i64)>,
    attributes: BTreeMap<CString, Vec<u8>>,
}

impl RootIdentity {
    /// `/` of a new system: 0755, root's.
    pub fn fresh() -> Self {
        Self { mode: 0o755, uid: 0, gid: 0, modified: None, attributes: BTreeMap::new() }
    }

    /// That of the directory `dir`.
    pub fn of(dir: &Path) -> Result<Self> {
        let read = || {
            let status = stat(dir)?;
            let modified = Some((status.st_mtime, status.st_mtime_nsec.cast_signed()));
            let mut names = vec![0; LARGEST_XATTR];
            let length = llistxattr(dir, &mut names)?;
            let mut attributes = BTreeMap::new();
            for name in names[..length].split(|byte| *byte == 0) {
                if name.is_empty() || name.starts_with(OVERLAY_PREFIX) {
                    continue;
                }
                let name = CString::new(name).expect("split at every NUL");
                let mut value = vec![0; LARGEST_XATTR];
                let length = lgetxattr(dir, &name, &mut value)?;
                value.truncate(length);
                attributes.insert(name, value);
            }
            Ok::<Self, rustix::io::Errno>(Self {
                mode: status.st_mode & 0o7777,
                uid: status.st_uid,
                gid: status.st_gid,
                modified,
                attributes,
            })
        };
        read().with_context(|| format!("read the attributes of {}", dir.display()))
    }

    /// Makes `dir` such a directory.
    pub fn apply(&self, dir: &Path) -> Result<()> {
        let write = || {
            chown(dir, Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))?;
            chmod(dir, Mode::from_raw_mode(self.mode))?;
            for (name, value) in &self.attributes {
                lsetxattr(dir, name, value, XattrFlags::empty())?;
            }
            if let Some((tv_sec, tv_nsec)) = self.modified {
                let time = Timespec { tv_sec, tv_nsec };
                utimensat(
                    CWD,
                    dir,
                    &Timestamps { last_access: time, last_modification: time },
                    AtFlags::empty(),
                )?;
            }
            Ok::<(), rustix::io::Errno>(())
        };
        write().with_context(|| format!("set the attributes of {}", dir.display()))
    }

    /// Whether the two differ in nothing that was set on purpose.
    pub fn same_but_for_time(&self, other: &Self) -> bool {
        let timeless = |identity: &Self| Self { modified: None, ..identity.clone() };
        timeless(self) == timeless(other)
    }
}
