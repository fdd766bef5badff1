//! A directory of the target as it is lent to components from other languages: what is mounted below it is not in it, devices do not open,
//! reading is not writing, and what is written is in the target. Needs root.

use std::fs::{self, File, OpenOptions};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;

use dibw_sys::target_files::{FileError, TargetRoot};
use dibw_sys::target_trees::TreeAccess;
use dibw_tests::dibw::root;
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

/// A tmpfs, unmounted when dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn at(place: &Path) -> Self {
        let done = Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(place).status().unwrap();
        assert!(done.success());
        Self(place.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        Command::new("umount").arg(&self.0).status().unwrap();
    }
}

/// A path into the lent directory.
fn inside(tree: &OwnedFd, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", tree.as_raw_fd()))
}

#[test]
fn a_lent_tree_is_a_mount_of_its_own() {
    if !root("target_trees") {
        return;
    }
    let scratch = tempfile::tempdir_in("/var/tmp").unwrap();
    let tree = scratch.path().join("x");
    fs::create_dir_all(tree.join("below")).unwrap();
    fs::write(tree.join("file"), "f").unwrap();
    mknodat(CWD, tree.join("null"), FileType::CharacterDevice, Mode::from_raw_mode(0o666), makedev(1, 3))
        .unwrap();
    std::os::unix::fs::symlink("x", scratch.path().join("link")).unwrap();
    let mounted = Mounted::at(&tree.join("below"));
    fs::write(tree.join("below/hidden"), "h").unwrap();

    let target = TargetRoot::open(scratch.path()).unwrap();
    let lent = target.detached_tree("/link", TreeAccess::Write).unwrap();
    assert_eq!(fs::read_to_string(inside(&lent, "file")).unwrap(), "f");
    assert!(!inside(&lent, "below/hidden").exists(), "what is mounted in the tree can be seen");
    assert!(inside(&lent, "below").is_dir());
    let device = File::open(inside(&lent, "null")).unwrap_err();
    assert_eq!(device.kind(), std::io::ErrorKind::PermissionDenied);
    fs::write(inside(&lent, "made"), "m").unwrap();
    assert_eq!(fs::read_to_string(tree.join("made")).unwrap(), "m");

    let read_only = target.detached_tree("/x", TreeAccess::Read).unwrap();
    assert_eq!(fs::read_to_string(inside(&read_only, "file")).unwrap(), "f");
    let refused = OpenOptions::new().write(true).open(inside(&read_only, "file")).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);

    for (path, found) in [("/missing", true), ("/x/file", false)] {
        let error = target.detached_tree(path, TreeAccess::Read).unwrap_err();
        let error = error.downcast::<FileError>().unwrap();
        assert_eq!(matches!(error, FileError::NotFound { .. }), found, "{path}: {error}");
    }
    drop((lent, read_only, mounted));
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&scratch.path().display().to_string()), "{mounts}");
}
