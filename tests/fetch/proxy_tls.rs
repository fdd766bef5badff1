//! Tunnels for TLS: the first message must be a ClientHello that names the host the tunnel was asked for.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use dibw_fetch::proxy::{Event, Hello, Limits, parse_hello};
use dibw_tests::proxied::{LIMITS, Proxied};

const HERE: &[(&str, &[&str])] = &[("site.example", &["127.0.0.1"])];
const ESTABLISHED: &str = "HTTP/1.1 200 Connection established\r\n\r\n";
const ALERT: [u8; 7] = [21, 3, 1, 0, 2, 2, 112];

fn vector16(content: &[u8]) -> Vec<u8> {
    [&u16::try_from(content.len()).unwrap().to_be_bytes()[..], content].concat()
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &vector16(content)].concat()
}

fn server_name(name: &[u8]) -> Vec<u8> {
    extension(0, &vector16(&[&[0][..], &vector16(name)].concat()))
}

/// A handshake message with these extensions.
fn message(extensions: &[Vec<u8>]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend_from_slice(&[7; 32]);
    body.extend_from_slice(&[4, 1, 2, 3, 4]);
    body.extend_from_slice(&vector16(&[0x13, 0x01, 0x13, 0x02]));
    body.extend_from_slice(&[1, 0]);
    body.extend_from_slice(&vector16(&extensions.concat()));
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[1, length[1], length[2], length[3]][..], &body].concat()
}

/// The message in records of at most so many bytes.
fn records(message: &[u8], longest: usize) -> Vec<u8> {
    message.chunks(longest).flat_map(|part| [&[22, 3, 1][..], &vector16(part)].concat()).collect()
}

fn hello(name: &str) -> Vec<u8> {
    records(
        &message(&[extension(10, &[0, 2, 0, 29]), server_name(name.as_bytes()), extension(43, &[2, 3, 4])]),
        16384,
    )
}

fn whole(name: Option<&str>, encrypted: bool) -> Hello {
    Hello::Whole { name: name.map(str::to_owned), encrypted }
}

#[test]
fn the_name_is_found_however_the_message_is_cut() {
    let message = message(&[server_name(b"Site.example")]);
    for longest in [1, 2, 3, 5, 40, 16384] {
        let bytes = records(&message, longest);
        for end in 0..bytes.len() {
            assert_eq!(parse_hello(&bytes[..end]), Hello::Incomplete, "{longest} {end}");
        }
        assert_eq!(parse_hello(&bytes), whole(Some("Site.example"), false));
        // What TLS says next is no concern of ours.
        assert_eq!(
            parse_hello(&[&bytes[..], &[20, 3, 3, 0, 1, 1]].concat()),
            whole(Some("Site.example"), false)
        );
    }
}

#[test]
fn hellos_without_a_name_and_with_a_hidden_one() {
    assert_eq!(parse_hello(&records(&message(&[]), 16384)), whole(None, false));
    let hidden = message(&[extension(0xfe0d, &[0, 1, 2]), server_name(b"front.example")]);
    assert_eq!(parse_hello(&records(&hidden, 16384)), whole(Some("front.example"), true));
    // The oldest clients end after the compression methods.
    let mut old = message(&[]);
    old.truncate(old.len() - 2);
    old[3] -= 2;
    assert_eq!(parse_hello(&records(&old, 16384)), whole(None, false));
}

#[test]
fn everything_else_is_invalid() {
    let good = message(&[server_name(b"site.example")]);
    let changed = |index: usize, value: u8| {
        let mut bad = good.clone();
        bad[index] = value;
        records(&bad, 16384)
    };
    let two_names = extension(0, &vector16(&[&[0][..], &vector16(b"a"), &[0], &vector16(b"b")].concat()));
    for (bytes, what) in [
        (b"SSH-2.0-x\r\n".to_vec(), "ssh"),
        (b"GET / HTTP/1.1\r\n".to_vec(), "http"),
        (vec![0x80, 0x2e, 1, 0, 2], "SSLv2"),
        (vec![22, 2], "version"),
        (vec![22, 3, 1, 0, 0], "an empty record"),
        (vec![22, 3, 1, 0x40, 1], "a record that is too long"),
        (vec![23, 3, 3, 0, 1, 1], "application data"),
        (records(&[2, 0, 0, 1, 0], 16384), "ServerHello"),
        (records(&[1, 0xff, 0xff, 0xff, 0], 16384), "a message of 16 MiB"),
        (records(&[&good[..], &[11, 0, 0, 0]].concat(), 16384), "two messages in a record"),
        ([&records(&good[..10], 16384)[..], &[23, 3, 3, 0, 1, 1]].concat(), "other records between"),
        (changed(38, 33), "a long session id"),
        (changed(43, 0xff), "long cipher suites"),
        (changed(49, 9), "long compression methods"),
        (changed(51, 0xff), "long extensions"),
        (changed(3, good[3] - 1), "a short message"),
        (records(&message(&[server_name(b"a"), server_name(b"a")]), 16384), "two extensions"),
        (records(&message(&[two_names]), 16384), "two names"),
        (records(&message(&[server_name(b"")]), 16384), "an empty name"),
        (records(&message(&[server_name(b"a\0b")]), 16384), "NUL"),
        (records(&message(&[server_name("\u{e9}".as_bytes())]), 16384), "not ASCII"),
        (records(&message(&[extension(0, &[])]), 16384), "an empty extension"),
        (records(&message(&[extension(0, &vector16(&[1, 0, 1, b'a']))]), 16384), "another kind of name"),
        (
            records(&message(&[extension(0, &[&vector16(&[0, 0, 1, b'a'])[..], &[0]].concat())]), 16384),
            "more",
        ),
    ] {
        assert!(matches!(parse_hello(&bytes), Hello::Invalid(_)), "{what}: {:?}", parse_hello(&bytes));
    }
    let long = records(&message(&[extension(9, &[0; 40_000])]), 16384);
    assert!(matches!(parse_hello(&long), Hello::Invalid("its TLS ClientHello is too long")));
}

/// No bytes, however wrong, are taken for a name that is not there; nothing panics.
#[test]
fn broken_bytes_never_panic() {
    let good = hello("site.example");
    let mut seed = 1u32;
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..3 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let index = (seed >> 8) as usize % bytes.len();
            bytes[index] = seed.to_be_bytes()[0];
        }
        bytes.truncate((seed >> 4) as usize % (good.len() + 1));
        parse_hello(&bytes);
    }
}

/// A server that greets and sends back what it gets, until the other side ends.
fn echo() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let accepting = listener.try_clone().unwrap();
    std::thread::spawn(move || {
        for stream in accepting.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let mut bytes = [0; 4096];
                while let Ok(count @ 1..) = stream.read(&mut bytes) {
                    if stream.write_all(&bytes[..count]).is_err() {
                        return;
                    }
                }
                drop(stream.write_all(b"bye"));
            });
        }
    });
    listener
}

fn tunnel(proxy: &Proxied, host: &str, port: u16) -> TcpStream {
    let mut client = proxy.connect();
    write!(client, "CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
    let mut answer = vec![0; ESTABLISHED.len()];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(String::from_utf8(answer).unwrap(), ESTABLISHED);
    client
}

#[test]
fn a_tunnel_passes_bytes_as_they_are() {
    let server = echo();
    let port = server.local_addr().unwrap().port();
    let without_name = records(&message(&[]), 16384);
    for (host, first) in [
        ("site.example", hello("site.example")),
        ("SITE.example.", hello("Site.Example")),
        ("site.example", records(&message(&[server_name(b"site.example")]), 20)),
        ("127.0.0.1", without_name),
    ] {
        let proxy = Proxied::start(LIMITS, HERE);
        let mut client = tunnel(&proxy, host, port);
        let sent: Vec<u8> = first.iter().copied().chain((0..200_000u32).flat_map(u32::to_le_bytes)).collect();
        let mut writing = client.try_clone().unwrap();
        let bytes = sent.clone();
        let writer = std::thread::spawn(move || {
            // In pieces at first: the hello may come one byte at a time.
            for byte in &bytes[..50] {
                writing.write_all(&[*byte]).unwrap();
            }
            writing.write_all(&bytes[50..]).unwrap();
            writing.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let mut back = Vec::new();
        client.read_to_end(&mut back).unwrap();
        writer.join().unwrap();
        assert!(back[..sent.len()] == sent && &back[sent.len()..] == b"bye");
        assert_eq!(proxy.watch.closed(), (sent.len() as u64, back.len() as u64));
    }
}

#[test]
fn a_hello_that_came_with_the_request_is_judged_too() {
    let server = echo();
    let port = server.local_addr().unwrap().port();
    let proxy = Proxied::start(LIMITS, HERE);
    let mut client = proxy.connect();
    let request = format!("CONNECT site.example:{port} HTTP/1.1\r\n\r\n");
    client.write_all(&[request.as_bytes(), &hello("other.example")].concat()).unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, [ESTABLISHED.as_bytes(), &ALERT].concat());
    assert_eq!(proxy.watch.refusal(), "the tunnel was asked for site.example, but TLS names other.example");
}

#[test]
fn other_names_and_other_protocols_are_cut_before_a_byte_passes() {
    for (host, first, said) in [
        ("site.example", hello("other.example"), "but TLS names other.example"),
        ("site.example", hello("site.example.evil"), "but TLS names site.example.evil"),
        ("site.example", hello("\u{7e}x"), "but TLS names ~x"),
        ("site.example", records(&message(&[]), 16384), "but TLS names no host (SNI)"),
        ("127.0.0.1", hello("site.example"), "but TLS names site.example"),
        (
            "site.example",
            records(&message(&[extension(0xfe0d, &[0]), server_name(b"site.example")]), 16384),
            "hides the host (ECH)",
        ),
        ("site.example", b"SSH-2.0-OpenSSH\r\n".to_vec(), "does not begin with a TLS ClientHello"),
        (
            "site.example",
            b"GET / HTTP/1.1\r\nHost: evil\r\n\r\n".to_vec(),
            "does not begin with a TLS ClientHello",
        ),
    ] {
        // Whoever is reached must hear nothing.
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxied::start(LIMITS, HERE);
        let mut client = tunnel(&proxy, host, server.local_addr().unwrap().port());
        client.write_all(&first).unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, ALERT, "{said}");
        let refusal = proxy.watch.refusal();
        assert!(refusal.contains(said), "{refusal}");
        let (mut heard, _) = server.accept().unwrap();
        assert_eq!(heard.read(&mut [0; 10]).unwrap_or(0), 0, "{said}");
    }
}

#[test]
fn a_client_that_says_nothing_is_let_go() {
    let server = echo();
    let proxy = Proxied::start(Limits { start: Duration::from_millis(300), ..LIMITS }, HERE);
    let began = Instant::now();
    let mut client = tunnel(&proxy, "site.example", server.local_addr().unwrap().port());
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert!(proxy.watch.refusal().starts_with("no TLS ClientHello came"));
    assert!(began.elapsed() < Duration::from_secs(3));
}

#[test]
fn stopping_ends_tunnels() {
    let server = echo();
    let proxy = Proxied::start(LIMITS, HERE);
    let mut client = tunnel(&proxy, "site.example", server.local_addr().unwrap().port());
    let hello = hello("site.example");
    client.write_all(&hello).unwrap();
    client.read_exact(&mut vec![0; hello.len()]).unwrap();
    let began = Instant::now();
    proxy.running.stop();
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(client.read(&mut [0; 10]).unwrap_or(0), 0);
    assert!(matches!(proxy.watch.wait(|event| matches!(event, Event::Closed { .. })), Event::Closed { .. }));
}
