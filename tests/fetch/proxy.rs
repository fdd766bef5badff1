//! The proxy for plain http: what passes, what is refused, and that one request never becomes two.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dibw_fetch::proxy::{Event, Limits, Traffic, start};
use dibw_tests::proxied::{LIMITS, Proxied, Watch};
use dibw_tests::web::{Names, Web, ok};

const HERE: &[(&str, &[&str])] = &[
    ("site.example", &["127.0.0.1"]),
    ("denied.example", &["127.0.0.1"]),
    ("cloud.example", &["169.254.169.254"]),
    ("mixed.example", &["127.0.0.1 10.0.0.1"]),
    ("rebind.example", &["127.0.0.1", "10.0.0.1"]),
];

#[test]
fn a_request_passes_with_its_own_host_and_comes_back() {
    let web = Web::fixed(ok(b"hello"));
    let proxy = Proxied::start(LIMITS, HERE);
    let port = web.address.port();
    let answer = proxy.exchange(
        format!("GET http://Site.example:{port}/a?b HTTP/1.1\r\nHost: evil\r\nProxy-Connection: x\r\n\r\n")
            .as_bytes(),
    );
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("hello"), "{answer}");
    let asked = &web.seen()[0];
    assert_eq!(asked.line, "GET /a?b HTTP/1.1");
    assert_eq!(asked.fields["host"], format!("site.example:{port}"));
    assert_eq!(asked.fields["connection"], "close");
    assert!(!asked.fields.contains_key("proxy-connection"));
    let Event::Allowed(target) = proxy.watch.wait(|event| matches!(event, Event::Allowed(_))) else {
        panic!()
    };
    assert_eq!((target.host.as_str(), target.port), ("site.example", port));
    assert_eq!(target.addresses, ["127.0.0.1".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(target.url.unwrap().path(), "/a");
    let (up, down) = proxy.watch.closed();
    assert_eq!(down, ok(b"hello").len() as u64);
    assert_eq!(proxy.running.stop(), Traffic { up, down });
}

#[test]
fn a_refusal_is_403_with_the_reason() {
    let web = Web::fixed(ok(b"hello"));
    let port = web.address.port();
    for (request, status, body) in [
        (
            format!("GET http://denied.example:{port}/"),
            "403 Forbidden",
            "dibw: no rule allows denied.example\n",
        ),
        (format!("CONNECT denied.example:{port}"), "403 Forbidden", "dibw: no rule allows denied.example\n"),
        ("GET http://169.254.169.254/".to_owned(), "403 Forbidden", "dibw: 169.254.169.254 is metadata\n"),
        ("CONNECT 169.254.169.254:80".to_owned(), "403 Forbidden", "dibw: 169.254.169.254 is metadata\n"),
        ("GET http://2852039166/".to_owned(), "403 Forbidden", "dibw: 169.254.169.254 is metadata\n"),
        ("CONNECT [::ffff:10.0.0.1]:80".to_owned(), "403 Forbidden", "dibw: ::ffff:10.0.0.1 is private\n"),
        ("GET http://cloud.example/".to_owned(), "403 Forbidden", "dibw: 169.254.169.254 is metadata\n"),
        (format!("GET http://mixed.example:{port}/"), "403 Forbidden", "dibw: 10.0.0.1 is private\n"),
        ("GET http://unknown.example/".to_owned(), "502 Bad Gateway", "dibw: look up unknown.example: "),
        (
            "DELETE http://site.example/".to_owned(),
            "405 Method Not Allowed",
            "serves CONNECT, GET, HEAD and POST\n",
        ),
        ("GET /etc/passwd".to_owned(), "400 Bad Request", "not a URL"),
        (
            "GET https://site.example/".to_owned(),
            "400 Bad Request",
            "https goes through a proxy with CONNECT",
        ),
        ("CONNECT site.example".to_owned(), "400 Bad Request", "CONNECT takes host:port"),
    ] {
        let proxy = Proxied::start(LIMITS, HERE);
        let answer = proxy.exchange(format!("{request} HTTP/1.1\r\n\r\n").as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{request}: {answer}");
        let (head, text) = answer.split_once("\r\n\r\n").unwrap();
        assert!(text.contains(body), "{request}: {text}");
        assert!(head.contains(&format!("Content-Length: {}\r\n", text.len())), "{head}");
        proxy
            .watch
            .wait(|event| matches!(event, Event::Refused(..) | Event::Failed(..) | Event::Malformed(_)));
    }
    assert!(web.seen().is_empty());
}

#[test]
fn the_name_is_looked_up_once_per_request() {
    let web = Web::fixed(ok(b"hello"));
    let proxy = Proxied::start(LIMITS, HERE);
    let request = format!("GET http://rebind.example:{}/ HTTP/1.1\r\n\r\n", web.address.port());
    assert!(proxy.exchange(request.as_bytes()).ends_with("hello"));
    assert_eq!(proxy.names.asked(), ["rebind.example"]);
    assert!(proxy.exchange(request.as_bytes()).contains("10.0.0.1 is private"));
}

#[test]
fn bodies_pass_in_both_codings() {
    let web = Web::start(|asked, stream| stream.write_all(&ok(&asked.body)));
    let proxy = Proxied::start(LIMITS, HERE);
    let url = format!("http://site.example:{}/", web.address.port());
    let large = vec![b'x'; 300_000];
    let mut with_length =
        format!("POST {url} HTTP/1.1\r\nContent-Length: {}\r\n\r\n", large.len()).into_bytes();
    with_length.extend_from_slice(&large);
    let answer = proxy.exchange(&with_length);
    assert!(answer.ends_with(&"x".repeat(300_000)), "{answer:.200}");
    let chunked = format!(
        "POST {url} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nX: y\r\n\r\n"
    );
    assert!(proxy.exchange(chunked.as_bytes()).ends_with("\r\n\r\nabcde"));
    assert!(!web.seen()[1].fields.contains_key("x"));
    let nothing = format!("POST {url} HTTP/1.1\r\n\r\n");
    assert!(proxy.exchange(nothing.as_bytes()).ends_with("Content-Length: 0\r\n\r\n"));
}

#[test]
fn a_client_that_waits_for_leave_gets_it() {
    let web = Web::start(|asked, stream| stream.write_all(&ok(&asked.body)));
    let proxy = Proxied::start(LIMITS, HERE);
    let mut client = proxy.connect();
    let url = format!("http://site.example:{}/", web.address.port());
    write!(client, "POST {url} HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n").unwrap();
    let mut leave = [0; 25];
    client.read_exact(&mut leave).unwrap();
    assert_eq!(&leave, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"hello").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("hello"), "{answer}");
    assert!(!web.seen()[0].fields.contains_key("expect"));
}

/// Each of these would be two requests to a server that reads it another way.
#[test]
fn nothing_behind_a_request_reaches_the_server() {
    let second = "GET http://denied.example/ HTTP/1.1\r\nHost: denied.example\r\n\r\n";
    for first in [
        "GET http://URL/ HTTP/1.1\r\n\r\n",
        "HEAD http://URL/ HTTP/1.1\r\n\r\n",
        "POST http://URL/ HTTP/1.1\r\nContent-Length: 2\r\n\r\nab",
        "POST http://URL/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET http://URL/ HTTP/1.1\r\nContent-Length: 0\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        // Reads all that comes until the proxy ends the connection or nothing comes any more.
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
            let mut bytes = Vec::new();
            drop(stream.read_to_end(&mut bytes));
            stream.write_all(&ok(b"")).unwrap();
            String::from_utf8(bytes).unwrap()
        });
        let proxy = Proxied::start(LIMITS, HERE);
        let request = first.replace("URL", &format!("site.example:{port}"));
        proxy.exchange(format!("{request}{second}").as_bytes());
        let seen = server.join().unwrap();
        assert!(!seen.contains("denied") && seen.matches("HTTP/1.1").count() == 1, "{first}: {seen}");
    }
}

#[test]
fn a_server_that_is_not_there_is_502() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxy = Proxied::start(LIMITS, HERE);
    for request in [format!("GET http://site.example:{}/", closed.port()), format!("CONNECT {closed}")] {
        let answer = proxy.exchange(format!("{request} HTTP/1.1\r\n\r\n").as_bytes());
        assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway") && answer.contains("refused"), "{answer}");
    }
}

#[test]
fn a_hundred_at_once_through_eight_places() {
    let web = Web::start(|asked, stream| stream.write_all(&ok(&asked.path().as_bytes().repeat(10_000))));
    let proxy = Proxied::start(Limits { connections: 8, ..LIMITS }, HERE);
    std::thread::scope(|scope| {
        for number in 0..100 {
            let (proxy, port) = (&proxy, web.address.port());
            scope.spawn(move || {
                let request = format!("GET http://site.example:{port}/{number:02} HTTP/1.1\r\n\r\n");
                let answer = proxy.exchange(request.as_bytes());
                assert!(answer.ends_with(&format!("/{number:02}").repeat(10_000)), "{number}: {answer:.100}");
            });
        }
    });
    assert_eq!(web.seen().len(), 100);
}

#[test]
fn the_limit_of_bytes_ends_everything() {
    let web = Web::start(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        loop {
            stream.write_all(&[7; 10_000])?;
        }
    });
    let proxy = Proxied::start(Limits { bytes: 1_000_000, ..LIMITS }, HERE);
    let mut client = proxy.connect();
    write!(client, "GET http://site.example:{}/ HTTP/1.1\r\n\r\n", web.address.port()).unwrap();
    let mut bytes = Vec::new();
    drop(client.read_to_end(&mut bytes));
    proxy.watch.closed();
    let Traffic { up, down } = proxy.running.traffic();
    assert!(up + down < 1_200_000, "{up} {down}");
    // Nobody is served any more.
    let mut late = TcpStream::connect(proxy.address);
    let answered = late.as_mut().is_ok_and(|stream| {
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.write_all(b"GET http://site.example/ HTTP/1.1\r\n\r\n").is_ok()
            && stream.read(&mut [0; 10]).is_ok_and(|count| count > 0)
    });
    assert!(!answered);
}

#[test]
fn idle_and_slow_clients_are_let_go() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let limits = Limits { start: Duration::from_millis(300), idle: Duration::from_millis(300), ..LIMITS };
    let proxy = Proxied::start(limits, HERE);
    let began = Instant::now();
    // A head that never ends, and a server that never answers.
    assert!(proxy.exchange(b"GET http://site.example/ HT").starts_with("HTTP/1.1 408"));
    assert_eq!(proxy.exchange(format!("GET http://site.example:{port}/ HTTP/1.1\r\n\r\n").as_bytes()), "");
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[test]
fn a_download_is_not_idle_because_the_client_has_nothing_to_say() {
    let web = Web::start(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        for _ in 0..10 {
            std::thread::sleep(Duration::from_millis(100));
            stream.write_all(b"x")?;
        }
        Ok(())
    });
    let proxy = Proxied::start(Limits { idle: Duration::from_millis(400), ..LIMITS }, HERE);
    let request = format!("GET http://site.example:{}/ HTTP/1.1\r\n\r\n", web.address.port());
    assert!(proxy.exchange(request.as_bytes()).ends_with("xxxxxxxxxx"));
}

#[test]
fn stopping_ends_open_connections() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxied::start(LIMITS, HERE);
    let mut client = proxy.connect();
    write!(client, "GET http://127.0.0.1:{}/ HTTP/1.1\r\n\r\n", silent.local_addr().unwrap().port()).unwrap();
    proxy.watch.wait(|event| matches!(event, Event::Allowed(_)));
    let began = Instant::now();
    proxy.running.stop();
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(client.read(&mut [0; 10]).unwrap_or(0), 0);
    assert!(TcpStream::connect(proxy.address).is_err());
}

#[test]
fn a_unix_socket_serves_as_well() {
    let web = Web::fixed(ok(b"hello"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("proxy");
    let listener = UnixListener::bind(&path).unwrap();
    let running = start(listener, Names::new(HERE), Arc::<Watch>::default(), LIMITS).unwrap();
    let mut client = UnixStream::connect(&path).unwrap();
    write!(client, "GET http://site.example:{}/ HTTP/1.1\r\n\r\n", web.address.port()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("hello"), "{answer}");
    drop(running);
}
