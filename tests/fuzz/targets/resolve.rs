//! The path resolver against the kernel: in a tree with links of any content, what a path is said to lead to is what `openat2` with
//! `RESOLVE_IN_ROOT` opens, and the answer itself leads there without any link.
#![no_main]

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::OnceLock;

use dibw_policy::path::normalise;
use dibw_sys::target_files::TargetRoot;
use libfuzzer_sys::fuzz_target;
use rustix::fs::{Mode, OFlags, ResolveFlags, fstat, openat2};

struct Tree {
    _place: tempfile::TempDir,
    root: PathBuf,
    top: OwnedFd,
    resolver: TargetRoot,
}

/// `/a/b/c`, a file in each directory, and outside of the root a directory that nothing may reach.
fn tree() -> &'static Tree {
    static TREE: OnceLock<Tree> = OnceLock::new();
    TREE.get_or_init(|| {
        let place = tempfile::tempdir().expect("a temporary directory");
        let root = place.path().join("root");
        std::fs::create_dir_all(root.join("a/b/c")).expect("directories");
        for file in ["f", "a/f", "a/b/f", "../outside"] {
            std::fs::write(root.join(file), file).expect("a file");
        }
        let top = File::open(&root).expect("the root").into();
        let resolver = TargetRoot::open(&root).expect("the root");
        Tree { _place: place, root, top, resolver }
    })
}

/// Device and inode of what the kernel opens.
fn kernel(path: &str, last: OFlags, resolve: ResolveFlags) -> Option<(u64, u64)> {
    let resolve = resolve | ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC | last;
    let found = openat2(&tree().top, path, flags, Mode::empty(), resolve).ok()?;
    let found = fstat(&found).expect("an open entry");
    Some((found.st_dev, found.st_ino))
}

/// The few names that exist are likelier than any other.
fn spell(bytes: &[u8]) -> String {
    let names = ["/", "/", "a", "b", "c", "f", "l", "m", "n", "..", ".", "/a/b", "x", " ", "é", "proc/self/root"];
    let word = |byte: &u8| match byte {
        0..=0x7f => names[usize::from(byte % 16)].to_owned(),
        other => char::from(other & 0x7f).to_string(),
    };
    bytes.iter().map(word).collect()
}

fuzz_target!(|input: (&[u8], &[u8], &[u8], &[u8])| {
    let (first, second, third, path) = input;
    let links = ["l", "a/m", "a/b/n"].map(|place| tree().root.join(place));
    for (place, target) in links.iter().zip([first, second, third]) {
        if place.symlink_metadata().is_ok() {
            std::fs::remove_file(place).expect("a link of the last input");
        }
        // Not every text can be a target.
        drop(symlink(spell(target), place));
    }
    let spelled = format!("/{}", spell(path));
    compare(&spelled);
    if let Ok(plain) = normalise(&spelled) {
        let same = kernel(&spelled, OFlags::empty(), ResolveFlags::empty());
        let other = kernel(&plain, OFlags::empty(), ResolveFlags::empty());
        assert!(same.is_none() || same == other, "{spelled:?} and {plain:?} are not the same");
        compare(&plain);
        // The parent exists and the path says no more than names: then it can be resolved.
        if kernel(&plain, OFlags::NOFOLLOW, ResolveFlags::empty()).is_some() {
            assert!(tree().resolver.resolve(&plain).is_ok(), "{plain:?} exists but is not resolved");
        }
    }
});

fn compare(path: &str) {
    let resolver = &tree().resolver;
    if let Ok(landed) = resolver.resolve(path) {
        let direct = kernel(&landed, OFlags::NOFOLLOW, ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV);
        // A slash at the end follows the last link; the resolver's question is about the entry itself.
        let bare = path.trim_end_matches('/');
        let asked = kernel(if bare.is_empty() { "/" } else { bare }, OFlags::NOFOLLOW, ResolveFlags::empty());
        assert_eq!(direct, asked, "{path:?} lands at {landed:?}");
        let names: Vec<&str> = landed.split('/').skip(1).collect();
        let plain = names == [""] || names.iter().all(|name| !matches!(*name, "" | "." | ".."));
        assert!(landed.starts_with('/') && plain, "{path:?} is answered with {landed:?}");
    }
    let asked = kernel(path, OFlags::empty(), ResolveFlags::empty());
    match resolver.resolve_following(path) {
        Ok(landed) => {
            let direct = kernel(&landed, OFlags::NOFOLLOW, ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV);
            assert_eq!(direct, asked, "{path:?} leads to {landed:?}");
        }
        Err(error) => assert_eq!(asked, None, "{path:?} exists: {error}"),
    }
}
