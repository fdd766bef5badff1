//! Downloads by content: what is asked for by digest, what is remembered from the first use, what is never believed.

use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;

use dibw_fetch::{Check, FetchError, FetchErrorKind, Fetched, FirstUse, Obtained, Store, obtain};

const URL: &str = "http://example.org/file";
const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
const WORLD: &str = "486ea46224d1bb4fb680f34f7c9ad96a8f24ec88be73ea8e5a6c65260e9cb8a7";

struct Place {
    dir: tempfile::TempDir,
    store: Store,
    book: FirstUse,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let book = FirstUse::open(&dir.path().join("first-use")).unwrap();
        Self { dir, store, book }
    }

    /// Obtains `URL`, which has `content` now; says whether the network was used.
    fn obtain(&self, check: &Check, content: &str) -> (Result<Obtained, FetchError>, bool) {
        let mut used = false;
        let mut download = |out: &mut dyn Write| {
            used = true;
            out.write_all(content.as_bytes()).unwrap();
            // What the downloader says of the digest does not count.
            Ok(Fetched { url: URL.parse().unwrap(), sha256: HELLO.to_owned(), bytes: 5 })
        };
        let result = obtain(&self.store, &self.book, URL, check, &mut download);
        (result, used)
    }

    fn object(&self, sha256: &str) -> PathBuf {
        self.dir.path().join("store/objects/sha256").join(&sha256[..2]).join(&sha256[2..])
    }
}

fn text(obtained: Result<Obtained, FetchError>) -> String {
    let mut text = String::new();
    obtained.unwrap().file.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_required_digest_is_fetched_once() {
    let place = Place::new();
    let check = Check::Required(HELLO.to_owned());
    let (first, used) = place.obtain(&check, "hello");
    assert!(used && !first.as_ref().unwrap().cached);
    assert_eq!(text(first), "hello");
    let (again, used) = place.obtain(&check, "changed meanwhile");
    assert!(!used && again.as_ref().unwrap().cached);
    assert_eq!(text(again), "hello");
}

#[test]
fn other_content_than_required_is_an_error_that_names_both_digests() {
    let place = Place::new();
    let (result, _) = place.obtain(&Check::Required(HELLO.to_owned()), "world");
    let error = result.unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::Digest);
    assert_eq!(error.message, format!("{URL}: sha256 is {WORLD}, but {HELLO} was asked for"));
    // And the wrong bytes do not lie under the right name.
    assert!(place.store.get(HELLO).unwrap().is_none());
}

#[test]
fn what_is_no_digest_never_becomes_a_path() {
    let place = Place::new();
    for digest in [
        "",
        "../../../../etc/passwd",
        &HELLO.to_uppercase(),
        &HELLO[1..],
        &format!("{HELLO}0"),
        &"/".repeat(64),
    ] {
        let (result, used) = place.obtain(&Check::Required(digest.to_owned()), "hello");
        assert_eq!(result.unwrap_err().kind, FetchErrorKind::Invalid, "{digest}");
        assert!(!used);
        assert_eq!(place.store.get(digest).unwrap_err().kind, FetchErrorKind::Invalid);
    }
}

#[test]
fn the_first_use_is_remembered_and_a_change_is_an_error() {
    let place = Place::new();
    assert_eq!(text(place.obtain(&Check::FirstUse, "hello").0), "hello");
    let entry = place.book.entry(URL);
    assert_eq!(fs::read_to_string(&entry).unwrap(), format!("{HELLO}  {URL}\n"));
    // Known content needs no network, so a change is not even seen.
    let (again, used) = place.obtain(&Check::FirstUse, "world");
    assert!(!used);
    assert_eq!(text(again), "hello");
    // Without the content it is fetched again, and must be the same.
    fs::remove_file(place.object(HELLO)).unwrap();
    let error = place.obtain(&Check::FirstUse, "world").0.unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::Changed);
    let expected = format!(
        "{URL}: its content changed: sha256 was {HELLO} at the first use and is {WORLD} now; if that is meant, rm {}",
        entry.display()
    );
    assert_eq!(error.message, expected);
    assert_eq!(text(place.obtain(&Check::FirstUse, "hello").0), "hello");
    fs::remove_file(&entry).unwrap();
    assert_eq!(text(place.obtain(&Check::FirstUse, "world").0), "world");
}

#[test]
fn the_first_of_two_first_uses_stands() {
    let place = Place::new();
    assert_eq!(place.book.remember(URL, HELLO).unwrap(), HELLO);
    assert_eq!(place.book.remember(URL, WORLD).unwrap(), HELLO);
    assert_eq!(place.book.remembered("http://example.org/other").unwrap(), None);
}

#[test]
fn a_spoilt_entry_is_named_and_not_believed() {
    let place = Place::new();
    let entry = place.book.entry(URL);
    for spoilt in [
        "",
        "x",
        &format!("{HELLO}  {URL}"),
        &format!("{HELLO}  other\n"),
        &format!("{}  {URL}\n", &HELLO[1..]),
    ] {
        fs::write(&entry, spoilt).unwrap();
        let error = place.obtain(&Check::FirstUse, "hello").0.unwrap_err();
        assert_eq!(
            error.message,
            format!("{}: not an entry of the first-use book; remove it", entry.display())
        );
    }
}

#[test]
fn nothing_known_means_downloading_each_time() {
    let place = Place::new();
    for content in ["hello", "world", "hello"] {
        let (result, used) = place.obtain(&Check::None, content);
        assert!(used);
        let sha256 = if content == "hello" { HELLO } else { WORLD };
        assert_eq!(result.as_ref().unwrap().sha256, sha256);
        assert_eq!(text(result), content);
    }
}

#[test]
fn damaged_files_are_replaced() {
    let place = Place::new();
    let check = Check::Required(HELLO.to_owned());
    place.obtain(&check, "hello").0.unwrap();
    for damage in ["", "hellO", "hello and more"] {
        fs::write(place.object(HELLO), damage).unwrap();
        let (result, used) = place.obtain(&check, "hello");
        assert!(used, "{damage}");
        assert_eq!(text(result), "hello");
        // Found damaged only when the same content is kept again.
        fs::write(place.object(HELLO), damage).unwrap();
        assert_eq!(text(place.obtain(&Check::None, "hello").0), "hello");
        assert_eq!(fs::read_to_string(place.object(HELLO)).unwrap(), "hello");
    }
}

#[test]
fn a_download_that_fails_leaves_nothing() {
    let place = Place::new();
    let mut broken = |out: &mut dyn Write| {
        out.write_all(b"half").unwrap();
        Err(FetchError { kind: FetchErrorKind::Network, message: "cut".to_owned() })
    };
    let error = obtain(&place.store, &place.book, URL, &Check::FirstUse, &mut broken).unwrap_err();
    assert_eq!(error.message, "cut");
    assert_eq!(place.book.remembered(URL).unwrap(), None);
    let objects = place.dir.path().join("store/objects/sha256");
    assert_eq!(fs::read_dir(objects).unwrap().count(), 0);
}

#[test]
fn many_keep_the_same_content_at_once() {
    let place = Place::new();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| assert_eq!(text(place.obtain(&Check::FirstUse, "hello").0), "hello"));
        }
    });
}
