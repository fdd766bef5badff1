//! Downloads made by another process: over its channel everything works as in this one, and a helper that lies or dies gives
//! one clear error. (The process itself: privileged/fetch_helper.rs.)

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dibw_fetch::{
    Client, FetchErrorKind, FetchRequest, Hop, ProxySettings, Resolver, SystemResolver, helper,
};
use dibw_tests::download::{Seen, loopback_only, request};
use dibw_tests::web::{Names, Web, ok};
use serde_json::{Value, json};

const HELLO_SHA256: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
const URL: &str = "http://127.0.0.1:1/file";

/// A client whose helper is a thread.
fn client(resolver: Arc<dyn Resolver>) -> Client<UnixStream> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    std::thread::spawn(move || helper::serve_with(theirs, resolver));
    Client::new(ours)
}

fn fetch(client: &mut Client<UnixStream>, request: &FetchRequest) -> Seen {
    let (mut hops, mut bytes) = (Vec::new(), Vec::new());
    let mut allow = |hop: &Hop| {
        hops.push(hop.clone());
        loopback_only(hop)
    };
    let result = client.fetch(request, &mut allow, &mut bytes);
    Seen { result, hops, bytes }
}

#[test]
fn it_is_as_if_there_were_no_other_process() {
    let large: Vec<u8> = (0..1_000_000u32).flat_map(u32::to_le_bytes).collect();
    let body = ok(&large);
    let web = Web::start(move |asked, stream| match asked.path() {
        "/go" => write!(stream, "HTTP/1.1 302 Found\r\nLocation: /large\r\n\r\n"),
        "/evil" => write!(stream, "HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\n\r\n"),
        "/large" => stream.write_all(&body),
        _ => write!(stream, "HTTP/1.1 404 Not Found\r\n\r\n"),
    });
    let mut client = client(Arc::new(SystemResolver));
    let of = |path: &str| FetchRequest { max_bytes: 4_000_000, ..request(&web.url(path)) };
    let seen = fetch(&mut client, &of("/go"));
    assert_eq!(seen.result.as_ref().unwrap().bytes, 4_000_000);
    assert!(seen.bytes == large);
    assert_eq!(seen.hops.len(), 2);
    // Failures of all kinds, and the helper can be used again.
    let seen = fetch(&mut client, &of("/evil"));
    assert_eq!(seen.error().message, "http://169.254.169.254/: 169.254.169.254 is metadata");
    assert_eq!(seen.error().kind, FetchErrorKind::Refused);
    assert_eq!(fetch(&mut client, &of("/none")).error().kind, FetchErrorKind::Answer);
    let small = FetchRequest { max_bytes: 3_999_999, ..of("/large") };
    assert_eq!(fetch(&mut client, &small).error().kind, FetchErrorKind::TooLarge);
    assert!(fetch(&mut client, &of("/large")).result.is_ok());
}

#[test]
fn names_are_looked_up_once_by_the_helper() {
    let web = Web::fixed(ok(b"hello"));
    let names = Names::new(&[("a.example", &["127.0.0.1", "10.0.0.1"])]);
    let seen =
        fetch(&mut client(names.clone()), &request(&format!("http://a.example:{}/", web.address.port())));
    assert_eq!(seen.bytes, b"hello");
    assert_eq!(names.asked().len(), 1);
}

#[test]
fn a_disk_that_is_full_here_is_our_error() {
    let web = Web::fixed(ok(&[7; 200_000]));
    let mut full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut client = client(Arc::new(SystemResolver));
    let error = client.fetch(&request(&web.url("/")), &mut |_| Ok(()), &mut full).unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::Local);
    // The bytes that are still on their way belong to nobody.
    assert_eq!(fetch(&mut client, &request(&web.url("/"))).error().kind, FetchErrorKind::Helper);
}

/// What a helper says, in order; it reads one verdict after each hop.
enum Says {
    Message(Value),
    Piece(&'static [u8]),
    Raw(Vec<u8>),
}
use Says::{Message, Piece, Raw};

fn frame(tag: u8, bytes: &[u8]) -> Vec<u8> {
    let mut frame = vec![tag];
    frame.extend_from_slice(&u32::try_from(bytes.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(bytes);
    frame
}

/// A client whose helper says this, whatever it is told, and hangs up.
fn scripted(script: Vec<Says>) -> Client<UnixStream> {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    std::thread::spawn(move || {
        for says in script {
            let bytes = match says {
                Message(value) => frame(b'm', value.to_string().as_bytes()),
                Piece(bytes) => frame(b'p', bytes),
                Raw(bytes) => bytes,
            };
            if theirs.write_all(&bytes).is_err() {
                return;
            }
        }
        theirs.shutdown(std::net::Shutdown::Write).ok();
        theirs.read_to_end(&mut Vec::new()).ok();
    });
    Client::new(ours)
}

fn hop(url: &str, addresses: &[&str]) -> Says {
    Message(json!({"Hop": {"url": url, "addresses": addresses, "via_proxy": null}}))
}

fn done(url: &str, sha256: &str, bytes: u64) -> Says {
    Message(json!({"Done": {"url": url, "sha256": sha256, "bytes": bytes}}))
}

#[test]
fn an_honest_script_is_believed() {
    let mut client =
        scripted(vec![hop(URL, &["127.0.0.1"]), Piece(b"hel"), Piece(b"lo"), done(URL, HELLO_SHA256, 5)]);
    let seen = fetch(&mut client, &request(URL));
    assert_eq!(seen.result.as_ref().unwrap().sha256, HELLO_SHA256);
    assert_eq!(seen.bytes, b"hello");
}

#[test]
fn a_helper_that_lies_or_dies_gives_one_clear_error() {
    let allowed = || hop(URL, &["127.0.0.1"]);
    let hops = |count: u32| (0..count).map(|_| allowed()).collect::<Vec<_>>();
    let evil = "http://169.254.169.254/";
    for (script, said) in [
        (vec![], "it died"),
        (vec![allowed()], "it died"),
        (vec![allowed(), Piece(b"hel")], "it died"),
        (vec![allowed(), Raw(frame(b'p', b"hello")[..7].to_vec())], "it died"),
        (vec![Raw(b"garbage".to_vec())], "a frame of unknown kind 103"),
        (vec![Raw(frame(b'm', b"{"))], "EOF while parsing"),
        (vec![Raw(frame(b'm', b"\"\x1b[2J\""))], "control character"),
        (vec![Raw(vec![b'm', 0xff, 0xff, 0xff, 0xff])], "a frame of 4294967295 bytes"),
        (vec![allowed(), Raw(frame(b'p', &[0; 70_000]))], "a frame of 70000 bytes"),
        (vec![Message(json!({"Verdict": {"Ok": null}}))], "unknown variant `Verdict`"),
        (vec![Piece(b"hello")], "bytes came that nobody allowed"),
        (vec![done(URL, HELLO_SHA256, 5)], "a download is done that was not allowed"),
        (vec![allowed(), done(URL, HELLO_SHA256, 5)], "it digested other bytes than it sent"),
        (
            vec![allowed(), Piece(b"hello"), done(URL, HELLO_SHA256, 6)],
            "it digested other bytes than it sent",
        ),
        (
            vec![allowed(), Piece(b"world"), done(URL, HELLO_SHA256, 5)],
            "it digested other bytes than it sent",
        ),
        (vec![allowed(), Piece(b"hello"), done(evil, HELLO_SHA256, 5)], "that was not allowed"),
        (vec![hop("http://127.0.0.1:2/", &["127.0.0.1"])], "it asks for another URL"),
        (vec![allowed(), hop("file:///etc/passwd", &["127.0.0.1"])], "it asks for another URL"),
        (vec![hop(URL, &[])], "wrong about where it connects to"),
        (vec![hop(URL, &["127.0.0.2"])], "wrong about where it connects to"),
        (vec![hop(URL, &["127.0.0.1", "10.0.0.1"])], "wrong about where it connects to"),
        (vec![allowed(), hop("http://b.example/", &[])], "wrong about where it connects to"),
        (
            vec![Message(json!({"Hop": {"url": URL, "addresses": [], "via_proxy": "proxy:1"}}))],
            "wrong about where it connects to",
        ),
        (vec![allowed(), Piece(b"x"), allowed()], "it asks for one more hop"),
        (hops(12), "it asks for one more hop"),
        (vec![allowed(), hop(evil, &["169.254.169.254"]), Piece(b"x")], "bytes came that nobody allowed"),
        (vec![allowed(), hop(evil, &["169.254.169.254"]), allowed()], "it went on after a refusal"),
        (
            vec![Message(json!({"Failed": {"kind": "Refused", "message": "you said no"}}))],
            "it was refused what nobody refused",
        ),
    ] {
        let mut client = scripted(script);
        let error = fetch(&mut client, &request(URL)).result.expect_err(said);
        assert_eq!(error.kind, FetchErrorKind::Helper, "{error}");
        assert!(error.message.starts_with("the process that downloads can't be used: "), "{said}: {error}");
        assert!(error.message.contains(said) && !error.message.contains('\u{1b}'), "{said}: {error}");
    }
}

#[test]
fn a_helper_that_answers_a_refusal_with_another_story_is_told_ours() {
    let evil = hop("http://127.0.0.1:1/", &["127.0.0.1"]);
    let mut client =
        scripted(vec![evil, Message(json!({"Failed": {"kind": "Network", "message": "all is well"}}))]);
    let error = client
        .fetch(&request("http://127.0.0.1:1/"), &mut |_| Err("no".into()), &mut Vec::new())
        .unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (FetchErrorKind::Refused, "http://127.0.0.1:1/: no"));
}

#[test]
fn messages_of_a_helper_are_safe_to_print() {
    let script = vec![Message(json!({"Failed": {"kind": "Network", "message": "a\u{1b}[2Jb"}}))];
    let error = fetch(&mut scripted(script), &request(URL)).result.unwrap_err();
    assert_eq!(error.message, "a\\u{1b}[2Jb");
}

#[test]
fn more_bytes_than_allowed_end_it_here_too() {
    let script = vec![hop(URL, &["127.0.0.1"]), Piece(b"hel"), Piece(b"lo!")];
    let small = FetchRequest { max_bytes: 5, ..request(URL) };
    let seen = fetch(&mut scripted(script), &small);
    assert_eq!(seen.error().message, format!("{URL}: more than 5 bytes came"));
    assert_eq!(seen.bytes, b"hel");
}

#[test]
fn a_helper_that_says_nothing_is_given_up_after_the_deadline() {
    for drips in [false, true] {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let silent = std::thread::spawn(move || {
            theirs.read_exact(&mut [0; 5]).unwrap();
            theirs.write_all(&[b'm', 0, 0, 0xff, 0xff]).unwrap();
            while drips && theirs.write_all(b" ").is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
            theirs.read_to_end(&mut Vec::new()).ok();
        });
        let mut client = Client::new(ours);
        let began = Instant::now();
        let late = FetchRequest { deadline: Duration::from_millis(100), ..request(URL) };
        let seen = fetch(&mut client, &late);
        assert_eq!(seen.error().kind, FetchErrorKind::TooSlow, "{}", seen.error());
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
        drop(client);
        silent.join().unwrap();
    }
}

#[test]
fn a_proxy_hop_must_be_of_the_proxy_that_is_set() {
    let proxies =
        ProxySettings::from_variables(|name| (name == "http_proxy").then(|| "http://p:1".to_owned()));
    let request = FetchRequest { proxies, ..request(URL) };
    let via = |addresses: &[&str], proxy: &str| {
        Message(json!({"Hop": {"url": URL, "addresses": addresses, "via_proxy": proxy}}))
    };
    for (script, works) in [
        (vec![via(&[], "p:1"), Piece(b"hello"), done(URL, HELLO_SHA256, 5)], true),
        (vec![via(&[], "q:1")], false),
        (vec![via(&["127.0.0.1"], "p:1")], false),
        (vec![hop(URL, &["127.0.0.1"])], false),
    ] {
        assert_eq!(fetch(&mut scripted(script), &request).result.is_ok(), works);
    }
}
