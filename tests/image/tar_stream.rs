//! Tar streams of `dibw-image`, as GNU tar extracts them.

mod tools;

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use dibw_image::tar_stream::{Stats, TarOptions, write_tree};
use tools::{am_root, attempt, have, run, text};

fn archive(root: &Path, options: &TarOptions) -> (Vec<u8>, Stats) {
    let root = File::open(root).expect("open");
    let mut bytes = Vec::new();
    let stats = write_tree(&root, &mut bytes, options).expect("the tree can be written");
    assert_eq!(stats.stream_bytes, bytes.len() as u64);
    assert_eq!(bytes.len() % 10_240, 0);
    (bytes, stats)
}

/// Extracts an archive and gives the directory.
fn extract(bytes: &[u8], place: &Path) -> PathBuf {
    let (file, copy) = (place.join("archive.tar"), place.join("copy"));
    fs::write(&file, bytes).expect("write");
    fs::create_dir(&copy).expect("create");
    let shown = run(
        "tar",
        &["--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf", text(&file), "-C", text(&copy)],
    );
    assert_eq!(shown, "", "tar has nothing to complain about");
    copy
}

/// Everything about a tree that must survive, one line per file.
fn described(root: &Path) -> String {
    let format = r"%P %y %m %U:%G %n %s %T@ -> %l\n";
    // Sizes of directories and their times below a second are the file system's own affair.
    let listed = run(
        "sh",
        &[
            "-c",
            &format!(
                "cd '{}' && find . -printf '{format}' | sed -E 's/(:[0-9]+ [0-9]+ [0-9]+ [0-9]+)\\.[0-9]+/\\1/; /^[^ ]* d /s/ [0-9]+ ([0-9]+ ->)/ - \\1/' | sort",
                root.display()
            ),
        ],
    );
    let contents = run(
        "sh",
        &["-c", &format!("cd '{}' && find . -type f -print0 | sort -z | xargs -0 sha256sum", root.display())],
    );
    let devices = run(
        "sh",
        &[
            "-c",
            &format!(
                "cd '{}' && find . '(' -type b -o -type c ')' -exec stat -c '%n %t:%T' {{}} + | sort",
                root.display()
            ),
        ],
    );
    format!("{listed}\n{contents}\n{devices}")
}

#[test]
fn an_ordinary_tree_survives() {
    if !have("tar") {
        return;
    }
    let place = tempfile::tempdir().expect("temporary directory");
    let root = place.path().join("root");
    fs::create_dir_all(root.join("etc/deep")).expect("create");
    fs::write(root.join("etc/hosts"), "127.0.0.1 localhost\n").expect("write");
    fs::write(root.join("etc/empty"), "").expect("write");
    fs::write(root.join("etc/block"), vec![b'x'; 512]).expect("write");
    fs::hard_link(root.join("etc/hosts"), root.join("etc/deep/again")).expect("link");
    symlink("../hosts", root.join("etc/deep/up")).expect("link");
    symlink("/nonexistent/".repeat(12), root.join("etc/long-link")).expect("link");
    fs::create_dir(root.join("n".repeat(200))).expect("create");
    fs::write(root.join("n".repeat(200)).join("m".repeat(250)), "long").expect("write");
    fs::write(root.join(OsString::from_vec(b"not \xff\xfe text".to_vec())), "bytes").expect("write");
    fs::write(root.join(OsString::from_vec(vec![0xfe; 150])), "long bytes").expect("write");
    fs::write(root.join("line\nbreak"), "odd").expect("write");
    File::create(root.join("sparse")).and_then(|file| file.set_len(3_000_001)).expect("create");
    let socket = UnixListener::bind(root.join("socket")).expect("bind");
    fs::set_permissions(root.join("etc/empty"), fs::Permissions::from_mode(0o4751)).expect("chmod");
    fs::set_permissions(root.join("etc/deep"), fs::Permissions::from_mode(0o3775)).expect("chmod");

    let (bytes, stats) = archive(&root, &TarOptions::default());
    assert_eq!(stats.skipped_sockets, 1);
    assert_eq!(stats.entries, 15);
    drop(socket);
    fs::remove_file(root.join("socket")).expect("remove");
    // The socket's removal changed the root's time.
    let (again, _) = archive(&root, &TarOptions::default());
    assert_eq!(bytes.len(), again.len());
    let copy = extract(&again, place.path());
    assert_eq!(described(&copy), described(&root));
    let inode = |name: &str| fs::metadata(copy.join(name)).expect("metadata").ino();
    assert_eq!(inode("etc/hosts"), inode("etc/deep/again"));
}

#[test]
fn names_are_sorted_and_archives_repeatable() {
    let place = tempfile::tempdir().expect("temporary directory");
    for (index, order) in [["b", "a-b", "a", "B"], ["B", "a", "a-b", "b"]].iter().enumerate() {
        let root = place.path().join(index.to_string());
        fs::create_dir(&root).expect("create");
        for name in order {
            fs::create_dir(root.join(name)).expect("create");
            fs::write(root.join(name).join("file"), name).expect("write");
        }
    }
    let options = TarOptions { latest_mtime: Some(1_000_000_000), ..TarOptions::default() };
    let first = archive(&place.path().join("0"), &options);
    assert!(first == archive(&place.path().join("1"), &options), "the same tree gives other bytes");
    if !have("tar") {
        return;
    }
    let file = place.path().join("archive.tar");
    fs::write(&file, &first.0).expect("write");
    assert_eq!(
        run("tar", &["-tf", text(&file)]),
        "./\n./B/\n./B/file\n./a/\n./a/file\n./a-b/\n./a-b/file\n./b/\n./b/file\n"
    );
    let shown = run("tar", &["--utc", "--full-time", "-tvf", text(&file)]);
    assert_eq!(shown.matches("2001-09-09 01:46:40").count(), 9, "{shown}");
}

#[test]
fn emptied_directories_are_kept_without_their_contents() {
    if !have("tar") {
        return;
    }
    let place = tempfile::tempdir().expect("temporary directory");
    let root = place.path().join("root");
    for directory in ["proc/1", "sys/kernel", "usr/proc", "etc"] {
        fs::create_dir_all(root.join(directory)).expect("create");
        fs::write(root.join(directory).join("file"), "x").expect("write");
    }
    // A link of that name is only a link.
    symlink("etc", root.join("run")).expect("link");
    let options = TarOptions {
        emptied: ["proc", "sys", "run", "dev"].map(OsString::from).to_vec(),
        ..TarOptions::default()
    };
    let file = place.path().join("archive.tar");
    fs::write(&file, archive(&root, &options).0).expect("write");
    assert_eq!(
        run("tar", &["-tf", text(&file)]),
        "./\n./etc/\n./etc/file\n./proc/\n./run\n./sys/\n./usr/\n./usr/proc/\n./usr/proc/file\n"
    );
}

/// The shape of an App Container image.
#[test]
fn a_prefix_a_file_beside_it_and_what_is_left_out() {
    let place = tempfile::tempdir().expect("temporary directory");
    let root = place.path().join("tree");
    for directory in ["lost+found/1", "boot/lost+found/1", "home/lost+found"] {
        fs::create_dir_all(root.join(directory)).expect("create");
    }
    fs::write(root.join("one"), "1").expect("write");
    fs::hard_link(root.join("one"), root.join("two")).expect("link");
    let options = TarOptions {
        omitted: ["lost+found", "boot/lost+found", "not/there"].map(PathBuf::from).to_vec(),
        prefix: Some("rootfs".to_owned()),
        appended: vec![("manifest".to_owned(), b"{}".to_vec())],
        ..TarOptions::default()
    };
    let file = place.path().join("archive.tar");
    fs::write(&file, archive(&root, &options).0).expect("write");
    assert_eq!(
        run("tar", &["-tf", text(&file)]),
        "rootfs/\nrootfs/boot/\nrootfs/home/\nrootfs/home/lost+found/\nrootfs/one\nrootfs/two\nmanifest\n"
    );
    assert_eq!(run("tar", &["-xOf", text(&file), "manifest"]), "{}");
    assert_eq!(run("tar", &["-xOf", text(&file), "rootfs/one", "rootfs/two"]), "1");
}

#[test]
fn a_missing_root_is_an_error() {
    let place = tempfile::tempdir().expect("temporary directory");
    let file = place.path().join("file");
    fs::write(&file, "not a directory").expect("write");
    let error = write_tree(File::open(&file).expect("open"), &mut Vec::new(), &TarOptions::default());
    assert!(
        format!("{:#}", error.expect_err("no directory")).starts_with("cannot open the root of the tree")
    );
}

/// Owners, devices, file capabilities and all other extended attributes.
#[test]
fn what_only_root_can_make_survives() {
    if !am_root() || !have("tar") || !have("setcap") || !have("python3") {
        return;
    }
    let place = tempfile::tempdir().expect("temporary directory");
    let root = place.path().join("root");
    fs::create_dir(&root).expect("create");
    fs::write(root.join("ping"), "program").expect("write");
    fs::write(root.join("foreign"), "owned").expect("write");
    fs::create_dir(root.join("directory")).expect("create");
    symlink("ping", root.join("link")).expect("link");
    let shell = format!(
        "cd '{}' && mknod null c 1 3 && mknod disk b 8 300000 && mkfifo pipe && chown 70000:3000000000 foreign && \
         chown -h 5:6 link && chmod 6755 ping && setcap cap_net_raw+ep ping && chown 7:8 directory && \
         ln null null-again && ln pipe pipe-again && ln link link-again",
        root.display()
    );
    run("sh", &["-c", &shell]);
    let set = "import os, sys\n\
        os.setxattr('ping', 'user.a=b%c', b'\\0\\n=binary\\xff')\n\
        os.setxattr('directory', 'user.large', b'v' * 3000)\n\
        os.setxattr('directory', 'trusted.kept', b'1')\n\
        os.setxattr('directory', 'trusted.overlay.opaque', b'y')\n\
        os.setxattr('link', 'trusted.link', b'2', follow_symlinks=False)\n\
        os.setxattr('null', 'trusted.device', b'3')\n";
    let get = "import os\n\
        for top, below, files in os.walk('.'):\n\
        \x20for name in sorted(below + files):\n\
        \x20 path = os.path.join(top, name)\n\
        \x20 print(path, sorted((key, os.getxattr(path, key, follow_symlinks=False)) \
        for key in os.listxattr(path, follow_symlinks=False)))\n";
    let python = |directory: &Path, program: &str| {
        let script = place.path().join("script.py");
        fs::write(&script, program).expect("write");
        attempt("sh", &["-c", &format!("cd '{}' && python3 '{}'", directory.display(), script.display())])
    };
    let (shown, success) = python(&root, set);
    if !success {
        eprintln!("SKIPPED: the temporary directory has no extended attributes: {shown}");
        return;
    }
    let (bytes, _) = archive(&root, &TarOptions::default());
    let copy = extract(&bytes, place.path());
    assert_eq!(described(&copy), described(&root));
    let (before, after) = (python(&root, get), python(&copy, get));
    assert!(before.1 && after.1, "{} {}", before.0, after.0);
    let overlay = "('trusted.overlay.opaque', b'y')";
    assert!(before.0.contains(overlay));
    assert!(before.0.contains("security.capability"));
    assert_eq!(after.0, before.0.replace(&format!(", {overlay}"), ""));
}
