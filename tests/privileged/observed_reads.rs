//! What a sandboxed command read below the top layer is remembered exactly, and compared exactly later. Needs root.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use dibw_sys::observed::{ObservedTree, Properties, Reads, Seen, What};
use dibw_sys::process::Status;
use dibw_sys::sandbox::{SandboxCommand, TargetSource};
use dibw_tests::sandbox_target::{Outcome, SandboxTarget, record, shell_command};
use rustix::fs::{AtFlags, Mode, OFlags};

const PROBE: &str = env!("CARGO_BIN_EXE_sandbox-probe");

/// What the commands have to read, made by real root; `/srv` is theirs alone.
const SETUP: &str = "cd srv; mkdir -p dir/sub/deep list; echo 1 > dir/a; echo 2 > dir/b; echo 3 > dir/sub/c; touch empty; \
    ln -s dir/a link; ln -s ../srv/dir round; ln -s nowhere dead; cp ../bin/true prog; echo 4 > hard1; ln hard1 hard2; \
    mkfifo fifo; mknod null c 1 3; touch list/x list/y; echo 5 > list/z; echo 6 > \"$(printf 'new\\nline')\"; \
    echo 7 > \"$(printf '\\377\\\\')\"; echo 8 > www; chmod 600 www; chown 33:34 www; echo 9 > roots; chmod 600 roots";

/// The target with [`SETUP`] and a new layer on top. None, having said so, without root.
fn prepared(test: &str) -> Result<Option<SandboxTarget>> {
    let Some(mut target) = SandboxTarget::new(test, PROBE)? else { return Ok(None) };
    as_root(&mut target, SETUP)?;
    let noted = target.tree.mount_plain()?.join("srv/dir/b");
    rustix::fs::setxattr(noted, "user.note", b"first", rustix::fs::XattrFlags::empty())?;
    target.tree.begin_layer("observed")?;
    Ok(Some(target))
}

/// Runs a script of the host's shell at the root of the target.
fn as_root(target: &mut SandboxTarget, script: &str) -> Result<()> {
    let root = target.tree.mount_plain()?;
    ensure!(Command::new("sh").args(["-ec", script]).current_dir(root).status()?.success(), "{script}");
    Ok(())
}

/// Runs a command over a view of the layers below the top.
fn observe(target: &mut SandboxTarget, command: &SandboxCommand) -> Result<(Outcome, Reads)> {
    let (layers, view) = target.tree.sandbox_root_observed(target.runner.userns().base())?;
    let source = TargetSource::Layers(layers);
    let outcome = record(|on_line| target.runner.inside(&source, command, on_line))?;
    Ok((outcome, view.finish()?))
}

fn observed(target: &mut SandboxTarget, script: &str) -> Result<Reads> {
    let (outcome, reads) = observe(target, &shell_command(script))?;
    ensure!(outcome.finished.success(), "{script}: {}", outcome.stderr);
    Ok(reads)
}

/// What was read below `/srv`, in words.
fn below_srv(reads: &Reads) -> Vec<String> {
    let ours = reads.iter().filter(|(path, _)| path.bytes().starts_with(b"/srv/"));
    ours.map(|(path, seen)| format!("{path}: {}", in_words(seen))).collect()
}

fn in_words(seen: &Seen) -> String {
    let Seen::Present(Properties { what, attributes, attribute_names, .. }) = seen else {
        return "absent".to_owned();
    };
    let mut words = match what {
        What::Directory { listing: None } => "dir".to_owned(),
        What::Directory { listing: Some(_) } => "dir listed".to_owned(),
        What::File { contents: None, .. } => "file".to_owned(),
        What::File { contents: Some(_), .. } => "file read".to_owned(),
        What::Link { target } => format!("link {target}"),
        What::Node { .. } => "node".to_owned(),
    };
    for (name, value) in attributes {
        words.push_str(&format!(" {name}={}", if value.is_some() { "some" } else { "none" }));
    }
    if attribute_names.is_some() {
        words.push_str(" names");
    }
    words
}

fn assert_nothing_mounted(target: &SandboxTarget) -> Result<()> {
    let mounted = dibw_sys::mounts::mounted_below(target.dir.path())?;
    assert_eq!(mounted, Vec::<std::path::PathBuf>::new());
    Ok(())
}

#[test]
fn reads_are_remembered_exactly() -> Result<()> {
    let Some(mut target) = prepared("reads_are_remembered_exactly")? else { return Ok(()) };
    let note = "perl -e 'syscall(191, my $p = \"/srv/dir/b\", my $n = \"user.note\", my $v = \"x\" x 9, 9) == 5 or die \"$!\"'";
    let cases: [(&str, &[&str]); 21] = [
        ("true", &[]),
        ("cat /srv/dir/a", &["/srv/dir: dir", "/srv/dir/a: file read"]),
        ("test ! -e /srv/none/below", &["/srv/none: absent"]),
        ("ls /srv/list", &["/srv/list: dir listed"]),
        ("echo /srv/list/*", &["/srv/list: dir listed"]),
        ("test -s /srv/list/z", &["/srv/list: dir", "/srv/list/z: file"]),
        ("test -O /srv/list/z && : < /srv/list/z", &["/srv/list: dir", "/srv/list/z: file"]),
        ("cat /srv/empty", &["/srv/empty: file"]),
        ("cat /srv/link", &["/srv/dir: dir", "/srv/dir/a: file read", "/srv/link: link dir/a"]),
        ("readlink /srv/link", &["/srv/link: link dir/a"]),
        ("test ! -e /srv/dead", &["/srv/dead: link nowhere", "/srv/nowhere: absent"]),
        (
            "cat /srv/round/sub/c",
            &[
                "/srv/dir: dir",
                "/srv/dir/sub: dir",
                "/srv/dir/sub/c: file read",
                "/srv/round: link ../srv/dir",
            ],
        ),
        ("/srv/prog", &["/srv/prog: file read"]),
        ("cat /srv/hard2; test -f /srv/hard1", &["/srv/hard1: file read", "/srv/hard2: file read"]),
        ("test -f /srv/hard1; cat /srv/hard2", &["/srv/hard1: file read", "/srv/hard2: file read"]),
        ("test -p /srv/fifo; test -c /srv/null", &["/srv/fifo: node", "/srv/null: node"]),
        (
            "cat \"/srv/$(printf 'new\\nline')\" \"/srv/$(printf '\\377\\\\')\"",
            &["/srv/new\\x0aline: file read", "/srv/\\xff\\x5c: file read"],
        ),
        (note, &["/srv/dir: dir", "/srv/dir/b: file user.note=some"]),
        ("rm /srv/dir/sub/c", &["/srv/dir: dir names", "/srv/dir/sub: dir names", "/srv/dir/sub/c: file"]),
        ("echo > /srv/list/new", &["/srv/list: dir names", "/srv/list/new: absent"]),
        // Its contents and attributes are in the top layer now.
        ("chmod 640 /srv/dir/b", &["/srv/dir: dir names", "/srv/dir/b: file read user.note=some names"]),
    ];
    for (script, expected) in cases {
        let reads = observed(&mut target, script)?;
        assert_eq!(below_srv(&reads), expected, "{script}");
        assert_eq!(serde_json::from_str::<Reads>(&serde_json::to_string(&reads)?)?, reads, "{script}");
        target.tree.discard_top()?;
        target.tree.begin_layer("observed")?;
    }
    // What the programs themselves need.
    let reads = observed(&mut target, "cat /srv/empty")?;
    let words = |path: &str| reads.get(path).map(in_words);
    for (path, expected) in [
        ("/", Some("dir")),
        ("/lib64", Some("link usr/lib64")),
        ("/usr/bin/cat", Some("file read")),
        ("/usr/sbin/cat", Some("absent")),
        ("/usr/bin/ls", None),
        ("/usr/lib/x86_64-linux-gnu/libc.so.6", Some("file read")),
        ("/etc/ld.so.preload", Some("absent")),
        ("/etc/passwd", None),
    ] {
        assert_eq!(words(path).as_deref(), expected, "{path}");
    }
    assert_nothing_mounted(&target)
}

#[test]
fn differences_are_found_and_named() -> Result<()> {
    let Some(mut target) = prepared("differences_are_found_and_named")? else { return Ok(()) };
    let script = "cat /srv/dir/a /srv/round/sub/c; test -s /srv/www; ls /srv/list; test -e /srv/none; test -f /srv/link; \
        test -c /srv/null; cat /srv/hard1; chmod 640 /srv/dir/b";
    let reads = observed(&mut target, script)?;
    target.tree.discard_top()?;
    target.tree.begin_layer("changed")?;
    let cases: [(&str, Option<&str>); 26] = [
        ("true", None),
        // Times, inode numbers and numbers of links are no inputs.
        ("touch -d 2001-02-03 srv/dir/a srv/dir srv/list .", None),
        ("cp -p srv/dir/a srv/new && mv srv/new srv/dir/a", None),
        ("ln srv/dir/a srv/another", None),
        // Nobody read these.
        ("echo changed > srv/list/z", None),
        ("chmod 600 srv/list/x; chown 5 srv/list/y", None),
        ("echo > srv/dir/new; rm srv/prog; mkdir srv/dir/sub/more; echo 5 > srv/www", None),
        // It was only looked at: its size counts, its contents do not.
        ("echo 99 > srv/www", Some("/srv/www: content changed")),
        ("echo 5 > srv/dir/a", Some("/srv/dir/a: content changed")),
        ("echo 5 > srv/hard1", Some("/srv/hard1: content changed")),
        ("echo 5 > srv/dir/sub/c; echo 5 > srv/hard1", Some("/srv/dir/sub/c: content changed")),
        ("rm srv/dir/a", Some("/srv/dir/a: is gone")),
        ("rm -r srv/dir", Some("/srv/dir: is gone")),
        ("touch srv/none", Some("/srv/none: appeared")),
        ("ln -s nowhere srv/none", Some("/srv/none: appeared")),
        ("chmod 600 srv/dir/a", Some("/srv/dir/a: mode changed")),
        ("chmod 700 .", Some("/: mode changed")),
        ("chown 7 srv/www", Some("/srv/www: owner changed")),
        ("chgrp 7 srv/dir/sub", Some("/srv/dir/sub: owner changed")),
        ("touch srv/list/new", Some("/srv/list: entries changed")),
        ("rm srv/list/x; mkdir srv/list/x", Some("/srv/list: entries changed")),
        ("rm srv/link; ln -s dir/b srv/link", Some("/srv/link: link changed")),
        ("rm srv/link; cp srv/dir/a srv/link", Some("/srv/link: kind changed")),
        ("rm srv/null; mknod srv/null c 1 5", Some("/srv/null: device changed")),
        // Never followed: what is behind it is the same.
        ("cp -a srv/dir srv/copy; rm -r srv/dir; ln -s copy srv/dir", Some("/srv/dir: kind changed")),
        ("rm -r srv; ln -s /srv srv", Some("/srv: kind changed")),
    ];
    for (change, expected) in cases {
        as_root(&mut target, change)?;
        let found = reads.first_difference(target.tree.mount_plain()?)?;
        assert_eq!(found.map(|found| found.to_string()).as_deref(), expected, "{change}");
        target.tree.discard_top()?;
        target.tree.begin_layer("changed")?;
    }
    let attribute = |target: &mut SandboxTarget, name: &str, value: &[u8]| -> Result<Option<String>> {
        let file = target.tree.mount_plain()?.join("srv/dir/b");
        rustix::fs::setxattr(file, name, value, rustix::fs::XattrFlags::empty())?;
        let found = reads.first_difference(target.tree.mount_plain()?)?;
        Ok(found.map(|found| found.to_string()))
    };
    assert_eq!(attribute(&mut target, "user.note", b"first")?, None);
    let found = attribute(&mut target, "user.more", b"")?;
    assert_eq!(found.as_deref(), Some("/srv/dir/b: attributes changed"));
    let found = attribute(&mut target, "user.note", b"other")?;
    assert_eq!(found.as_deref(), Some("/srv/dir/b: attribute user.note changed"));
    Ok(())
}

#[test]
fn owners_and_permissions_are_those_of_the_target() -> Result<()> {
    let Some(mut target) = prepared("owners_and_permissions_are_those_of_the_target")? else { return Ok(()) };
    let script = "stat -c '%u:%g %a %F %t:%T %h' / /srv/www /srv/null /srv/hard1; \
        stat -c %d / /srv /srv/www | uniq | wc -l; touch /srv/made; test $(stat -c %d /srv/made) = $(stat -c %d /srv/www); \
        setpriv --reuid 33 --regid 34 --clear-groups sh -c 'cat /srv/www; cat /srv/roots || echo 1 >> /srv/dir/a || echo refused'";
    let (outcome, _) = observe(&mut target, &shell_command(script))?;
    let expected = "0:0 755 directory 0:0 1\n33:34 600 regular file 0:0 1\n0:0 644 character special file 1:3 1\n\
        0:0 644 regular file 0:0 2\n1\n8\nrefused\n";
    assert_eq!(outcome.stdout, expected, "{}", outcome.stderr);
    Ok(())
}

#[test]
fn without_layers_below_the_empty_ground_is_observed() -> Result<()> {
    let test = "without_layers_below_the_empty_ground_is_observed";
    let Some(mut target) = SandboxTarget::new(test, PROBE)? else { return Ok(()) };
    while target.tree.layers().len() > 1 {
        target.tree.discard_top()?;
    }
    let reads = observed(&mut target, "cat /etc/issue")?;
    let paths: Vec<String> = reads.iter().map(|(path, seen)| format!("{path} {}", in_words(seen))).collect();
    assert!(paths.contains(&"/ dir".to_owned()), "{paths:?}");
    assert!(!paths.iter().any(|path| path.contains("issue") || path.contains("file")), "{paths:?}");
    assert_nothing_mounted(&target)
}

#[test]
fn a_killed_command_and_a_dropped_view_leave_nothing() -> Result<()> {
    let test = "a_killed_command_and_a_dropped_view_leave_nothing";
    let Some(mut target) = prepared(test)? else { return Ok(()) };
    let script = "cat /srv/dir/a; while :; do find / -xdev -type f -exec cat {} + > /dev/null; done";
    let command = SandboxCommand { timeout: Some(Duration::from_millis(700)), ..shell_command(script) };
    let (outcome, reads) = observe(&mut target, &command)?;
    assert!(matches!(outcome.finished.status, Status::TimedOut), "{:?}", outcome.finished.status);
    assert_eq!(reads.get("/srv/dir/a").map(in_words).as_deref(), Some("file read"));
    assert_eq!(reads.first_difference(target.tree.mount_plain()?)?, None);
    assert_nothing_mounted_after(&mut target)?;

    drop(target.tree.sandbox_root_observed(0)?);
    assert_nothing_mounted(&target)?;
    // Somebody still has a file open.
    let (layers, view) = target.tree.sandbox_root_observed(0)?;
    drop(layers);
    let place = target.dir.path().join("below/view/srv/dir/a");
    let held = fs::File::open(&place).with_context(|| place.display().to_string())?;
    let message = format!("{:#}", view.finish().expect_err("it is busy"));
    assert!(message.contains("busy"), "{message}");
    drop(held);
    dibw_sys::mounts::unmount(&target.dir.path().join("below/view"))?;
    assert_nothing_mounted(&target)
}

fn assert_nothing_mounted_after(target: &mut SandboxTarget) -> Result<()> {
    target.tree.unmount()?;
    assert_nothing_mounted(target)
}

#[test]
fn deep_trees_and_any_directory_can_be_observed() -> Result<()> {
    let test = "deep_trees_and_any_directory_can_be_observed";
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED {test}: needs root");
        return Ok(());
    }
    let dir = tempfile::tempdir_in("/var/tmp")?;
    let (tree, place) = (dir.path().join("tree"), dir.path().join("place"));
    fs::create_dir(&tree)?;
    fs::create_dir(&place)?;
    // Longer than any path the kernel takes at once.
    let name = "d".repeat(200);
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let mut open = rustix::fs::open(&tree, flags, Mode::empty())?;
    for _ in 0..40 {
        rustix::fs::mkdirat(&open, &name, Mode::RWXU)?;
        open = rustix::fs::openat(&open, &name, flags, Mode::empty())?;
    }
    let made = rustix::fs::openat(&open, "file", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR)?;
    rustix::io::write(made, b"deep")?;

    let view = ObservedTree::mount(&tree, &place, 0)?;
    let mut open = rustix::fs::open(&place, flags, Mode::empty())?;
    for _ in 0..40 {
        open = rustix::fs::openat(&open, &name, flags, Mode::empty())?;
    }
    let mut bytes = [0; 9];
    let length =
        rustix::io::read(rustix::fs::openat(&open, "file", OFlags::RDONLY, Mode::empty())?, &mut bytes)?;
    assert_eq!(&bytes[..length], b"deep");
    let refused = rustix::fs::unlinkat(&open, "file", AtFlags::empty());
    assert_eq!(refused, Err(rustix::io::Errno::ROFS));
    drop(open);
    let reads = view.finish()?;
    let read: BTreeMap<usize, String> =
        reads.iter().map(|(path, seen)| (path.bytes().len(), in_words(seen))).collect();
    assert_eq!(read.len(), 42);
    assert_eq!(read.last_key_value(), Some((&(40 * 201 + 5), &"file read".to_owned())));
    assert_eq!(reads.first_difference(&tree)?, None);
    ensure!(Command::new("rm").arg("-r").arg(&tree).status()?.success(), "rm");
    fs::create_dir(&tree)?;
    let found = reads.first_difference(&tree)?.context("a difference")?.to_string();
    assert_eq!(found, format!("/{name}: is gone"));
    assert!(dibw_sys::mounts::mounted_below(Path::new(dir.path()))?.is_empty());
    Ok(())
}
