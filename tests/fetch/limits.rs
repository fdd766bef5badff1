//! The bounds of a download: bytes, time, sizes of heads; and servers that do not keep to HTTP.

use std::io::Write;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dibw_fetch::{FetchErrorKind, FetchRequest, SystemResolver};
use dibw_tests::download::{download, loopback_only, plainly, request};
use dibw_tests::web::{Web, ok};

#[test]
fn more_bytes_than_allowed_are_not_taken() {
    let announced = Web::fixed(ok(&[7; 1000]));
    let chunked = Web::start(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        loop {
            stream.write_all(b"100\r\n")?;
            stream.write_all(&[7; 256])?;
            stream.write_all(b"\r\n")?;
        }
    });
    let until_closed = Web::start(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        loop {
            stream.write_all(&[7; 256])?;
        }
    });
    for web in [&announced, &chunked, &until_closed] {
        let request = FetchRequest { max_bytes: 999, ..request(&web.url("/")) };
        let seen = download(&request, Arc::new(SystemResolver), loopback_only);
        assert_eq!(seen.error().kind, FetchErrorKind::TooLarge);
        assert_eq!(
            seen.error().message,
            format!("{}: the file is larger than the limit of 999 bytes", web.url("/"))
        );
        assert!(seen.bytes.len() <= 999);
    }
    // Exactly as many are fine.
    let request = FetchRequest { max_bytes: 1000, ..request(&announced.url("/")) };
    assert_eq!(download(&request, Arc::new(SystemResolver), loopback_only).bytes.len(), 1000);
}

/// Servers that take their time in different places; each download ends within twice its deadline.
#[test]
fn a_slow_server_ends_at_the_deadline() {
    let drip = |stream: &mut std::net::TcpStream| loop {
        stream.write_all(b"x")?;
        std::thread::sleep(Duration::from_millis(20));
    };
    let in_the_body = Web::start(move |_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")?;
        drip(stream)
    });
    let in_the_head = Web::start(move |_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nX: ")?;
        drip(stream)
    });
    let in_redirects = Web::start(|_, stream| {
        std::thread::sleep(Duration::from_millis(150));
        stream.write_all(b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n")
    });
    // Accepts nobody: the connection is made by the kernel, and nothing comes.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_url = format!("http://{}/", silent.local_addr().unwrap());
    for url in [in_the_body.url("/"), in_the_head.url("/"), in_redirects.url("/"), silent_url] {
        let deadline = Duration::from_millis(600);
        let request = FetchRequest { deadline, ..request(&url) };
        let began = Instant::now();
        let seen = download(&request, Arc::new(SystemResolver), loopback_only);
        assert_eq!(seen.error().kind, FetchErrorKind::TooSlow, "{}", seen.error());
        assert!(seen.error().message.contains("too slow; 5s to connect and 600ms in all are the limits"));
        assert!(began.elapsed() < 2 * deadline, "{url}: {:?}", began.elapsed());
    }
}

#[test]
fn what_is_not_http_is_an_error() {
    let fields = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(20_000));
    for (answer, kind) in [
        ("", FetchErrorKind::Network),
        ("SSH-2.0-OpenSSH\r\n", FetchErrorKind::Network),
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", FetchErrorKind::Network),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort", FetchErrorKind::Network),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nshort", FetchErrorKind::Network),
        ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", FetchErrorKind::Network),
        (&fields, FetchErrorKind::Network),
    ] {
        let web = Web::fixed(answer);
        let seen = plainly(&web.url("/"));
        assert_eq!(seen.error().kind, kind, "{answer:.60}: {}", seen.error());
        assert!(seen.error().message.starts_with(&web.url("/")), "{}", seen.error());
    }
}

#[test]
fn nobody_listening_is_told_as_such() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let seen = plainly(&format!("http://{closed}/"));
    assert_eq!(seen.error().kind, FetchErrorKind::Network);
    assert!(seen.error().message.contains("refused"), "{}", seen.error());
}

#[test]
fn a_file_is_kept_as_it_was_served() {
    let web =
        Web::fixed("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x0b\x08\x00");
    let seen = plainly(&web.url("/"));
    assert_eq!(seen.bytes, b"\x1f\x0b\x08\x00", "{:?}", seen.result);
    assert_eq!(web.seen()[0].fields["accept-encoding"], "identity");
}

#[test]
fn a_full_disk_is_told_as_such() {
    let web = Web::fixed(ok(b"hello"));
    let mut full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let fetcher = dibw_fetch::Fetcher::new(Arc::new(SystemResolver));
    let error = fetcher.fetch(&request(&web.url("/")), &mut |_| Ok(()), &mut full).unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::Local);
    assert!(error.message.contains("No space left"), "{error}");
}
