//! The comparer of images reports every kind of difference, and allows what its list allows and no more.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use dibw_tests::compare::allowed::Allowed;
use dibw_tests::compare::inventory::{Content, Entry, Inventory, Kind};
use dibw_tests::compare::{Aspect, Difference, differences};

/// A file with this text, mode 0644.
fn file(text: &str) -> Entry {
    let mut entry = Entry::new(Kind::File(Content::Bytes(text.into())));
    entry.mode = 0o644;
    entry
}

fn inventory(entries: impl IntoIterator<Item = (&'static str, Entry)>) -> Inventory {
    Inventory { entries: entries.into_iter().map(|(path, entry)| (path.to_owned(), entry)).collect() }
}

/// The differences of one path that has these entries in the two images.
fn between(a: Entry, b: Entry) -> Vec<Difference> {
    differences(&inventory([("/x", a)]), &inventory([("/x", b)])).expect("nothing is read from a disk")
}

fn with(change: impl FnOnce(&mut Entry)) -> Entry {
    let mut entry = file("one\ntwo\n");
    change(&mut entry);
    entry
}

#[test]
fn the_same_is_the_same() {
    assert_eq!(between(with(|_| {}), with(|_| {})), vec![]);
}

#[test]
fn every_attribute_counts() {
    let device = |numbers| {
        let mut entry = Entry::new(Kind::CharacterDevice);
        entry.device = numbers;
        entry
    };
    let link = |target: &str| Entry::new(Kind::Link(target.to_owned()));
    let fact = |text: &str| Entry::new(Kind::Fact(text.to_owned()));
    let capability = ("security.capability".to_owned(), vec![1, 0, 0, 2]);
    let cases = [
        (Aspect::Type, with(|_| {}), Entry::new(Kind::Directory)),
        (Aspect::Mode, with(|_| {}), with(|entry| entry.mode = 0o4644)),
        (Aspect::Owner, with(|_| {}), with(|entry| entry.uid = 1)),
        (Aspect::Owner, with(|_| {}), with(|entry| entry.gid = 1)),
        (Aspect::Link, link("a"), link("b")),
        (Aspect::Attributes, with(|_| {}), with(|entry| entry.attributes.extend([capability]))),
        (Aspect::Device, device((1, 3)), device((1, 5))),
        (Aspect::HardLinks, with(|_| {}), with(|entry| entry.same_as = Some("/a".into()))),
        (Aspect::Content, file("one\n"), file("two\n")),
        (Aspect::Content, file("one\n"), file("one\none\n")),
        (Aspect::Content, file("one\n"), file("one")),
        (Aspect::Content, file("\0"), file("\0\0")),
        (Aspect::Content, fact("ext4"), fact("xfs")),
        (Aspect::Order, file("one\ntwo\n"), file("two\none\n")),
    ];
    for (aspect, a, b) in cases {
        let found: Vec<_> = between(a, b).into_iter().map(|difference| difference.aspect).collect();
        assert_eq!(found, vec![aspect]);
    }
}

#[test]
fn what_only_one_has_is_listed_once_with_all_below_it() {
    let directory = || Entry::new(Kind::Directory);
    let a = inventory([("", directory()), ("/d", directory()), ("/d/e", directory()), ("/d/e/f", file(""))]);
    let b = inventory([("", directory()), ("/g", file(""))]);
    let shown: Vec<String> =
        differences(&a, &b).expect("in memory").iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        ["/d  only-a: directory 0000 0:0, and 2 entries below it", "/g  only-b: file 0644 0:0"]
    );
}

#[test]
fn the_lines_that_differ_are_shown() {
    let found = between(file("same\nold\n"), file("same\nnew\n"));
    assert_eq!(found[0].to_string(), "/x  content: 9 -> 9 bytes, from byte 5\n    - old\n    + new");
}

#[test]
fn only_what_the_list_names_is_allowed() {
    let list = "# a comment\n\n/var/log/*  content,mode  # logs\n/etc/machine?id  any  # made anew\n\
                /etc/shadow  content=root:*  # the day of the last change\n\
                /etc/sha*  content=sync:*  # as above\n/x  owner  # a reason\n";
    let allowed = Allowed::parse(list).expect("it is well-formed");
    let one = |path: &str, aspect, lines: Option<&[&str]>| Difference {
        path: path.to_owned(),
        aspect,
        shown: String::new(),
        lines: lines.map(|lines| lines.iter().map(|line| (*line).to_owned()).collect()),
    };
    let cases = [
        (one("/var/log/apt/history.log", Aspect::Content, None), true),
        (one("/var/log/apt/history.log", Aspect::Mode, None), true),
        (one("/var/log/apt/history.log", Aspect::Owner, None), false),
        (one("/var/log", Aspect::Mode, None), false),
        (one("/etc/machine-id", Aspect::OnlyB, None), true),
        (one("/etc/shadow", Aspect::Content, Some(&["root:*:1", "root:*:2"])), true),
        (one("/etc/shadow", Aspect::Content, Some(&["root:*:1", "daemon:*:2"])), false),
        (one("/etc/shadow", Aspect::Content, None), false),
        (one("/etc/shadow", Aspect::Content, Some(&["root:*:1", "sync:*:1"])), true),
        (one("/x", Aspect::Owner, None), true),
        (one("/xy", Aspect::Owner, None), false),
    ];
    for (difference, expected) in cases {
        assert_eq!(allowed.covers(&difference), expected, "{difference:?}");
    }
}

#[test]
fn a_list_without_reasons_is_refused() {
    for (line, complaint) in [
        ("/x  any", "no reason"),
        ("/x  any # ", "the reason is empty"),
        ("/x # why", "want GLOB ASPECTS"),
        ("/x  colour # why", "no aspect is called colour"),
    ] {
        let error = Allowed::parse(line).expect_err("it is not well-formed");
        assert!(format!("{error:#}").contains(complaint), "{error:#}");
    }
}

#[test]
fn the_shipped_lists_are_well_formed() {
    for name in ["allowed.txt", "allowed-tar.txt"] {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("compat").join(name);
        Allowed::parse(&fs::read_to_string(&file).expect("it is there")).expect("it is well-formed");
    }
}

#[test]
fn trees_on_disk_are_read_with_their_attributes() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    for name in ["a", "b"] {
        let tree = scratch.path().join(name);
        fs::create_dir_all(tree.join("d")).expect("it can be made");
        fs::write(tree.join("d/file"), "text").expect("it can be written");
        fs::hard_link(tree.join("d/file"), tree.join("d/too")).expect("it can be linked");
        symlink("file", tree.join("d/link")).expect("it can be linked");
    }
    let read = || {
        ["a", "b"].map(|name| {
            let mut inventory = Inventory::default();
            inventory.add_tree(&scratch.path().join(name), "").expect("it can be read");
            inventory
        })
    };
    let [a, b] = read();
    assert_eq!(a.entries.len(), 5);
    assert_eq!(differences(&a, &b).expect("readable"), vec![]);

    let b = scratch.path().join("b");
    fs::set_permissions(b.join("d"), PermissionsExt::from_mode(0o700)).expect("modes can be set");
    fs::remove_file(b.join("d/link")).expect("it is there");
    symlink("too", b.join("d/link")).expect("it can be linked");
    fs::remove_file(b.join("d/too")).expect("it is there");
    fs::write(b.join("d/too"), "text").expect("it can be written");
    let [a, b] = read();
    let found = differences(&a, &b).expect("readable");
    let aspects: Vec<_> = found.iter().map(|one| (one.path.as_str(), one.aspect)).collect();
    assert_eq!(
        aspects,
        [
            ("/d", Aspect::Mode),
            ("/d/file", Aspect::HardLinks),
            ("/d/link", Aspect::Link),
            ("/d/too", Aspect::HardLinks)
        ]
    );
}
