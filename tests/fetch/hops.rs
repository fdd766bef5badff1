//! Every hop of a download is put to the callback before it is made, with the addresses that it then goes to.

use std::io::Write;
use std::net::IpAddr;

use dibw_fetch::{FetchErrorKind, FetchRequest, ProxySettings, SystemResolver};
use dibw_tests::download::{download, loopback_only, plainly, request};
use dibw_tests::web::{Names, Web, ok};

const HELLO_SHA256: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

#[test]
fn a_file_comes_with_its_digest_and_its_hop() {
    let web = Web::fixed(ok(b"hello"));
    let seen = plainly(&web.url("/file?q=1#part"));
    let fetched = seen.result.as_ref().unwrap();
    assert_eq!((fetched.sha256.as_str(), fetched.bytes), (HELLO_SHA256, 5));
    assert_eq!(seen.bytes, b"hello");
    assert_eq!(seen.hops.len(), 1);
    assert_eq!(seen.hops[0].url.as_str(), web.url("/file?q=1"));
    assert_eq!(seen.hops[0].addresses, ["127.0.0.1".parse::<IpAddr>().unwrap()]);
    assert_eq!(seen.hops[0].via_proxy, None);
    assert_eq!(web.seen()[0].line, "GET /file?q=1 HTTP/1.1");
}

#[test]
fn a_redirect_to_the_metadata_service_is_refused_before_it_is_followed() {
    let web = Web::redirecting(|_| "http://169.254.169.254/latest/meta-data/".to_owned());
    let seen = plainly(&web.url("/"));
    assert_eq!(seen.error().kind, FetchErrorKind::Refused);
    assert_eq!(seen.error().message, "http://169.254.169.254/latest/meta-data/: 169.254.169.254 is metadata");
    assert_eq!(seen.hops.len(), 2);
    assert!(seen.bytes.is_empty());
}

#[test]
fn a_refused_first_hop_reaches_nobody() {
    let web = Web::fixed(ok(b"hello"));
    let seen = download(&request(&web.url("/")), std::sync::Arc::new(SystemResolver), |_| {
        Err("not \u{1b}[2Jhere".into())
    });
    assert_eq!(seen.error().message, format!("{}: not \\u{{1b}}[2Jhere", web.url("/")));
    assert!(web.seen().is_empty());
}

#[test]
fn the_address_that_was_judged_is_the_one_that_is_used() {
    let web = Web::fixed(ok(b"hello"));
    // The second answer would be another machine.
    let names = Names::new(&[("rebind.example", &["127.0.0.1", "169.254.169.254"])]);
    let url = format!("http://rebind.example:{}/", web.address.port());
    let seen = download(&request(&url), names.clone(), loopback_only);
    assert_eq!(seen.bytes, b"hello");
    assert_eq!(names.asked(), ["rebind.example"]);
    // The next download asks anew, and is judged anew.
    let seen = download(&request(&url), names, loopback_only);
    assert_eq!(seen.error().message, format!("{url}: 169.254.169.254 is metadata"));
}

#[test]
fn a_redirect_to_the_same_name_is_looked_up_and_judged_again() {
    let web = Web::redirecting(|_| "/again".to_owned());
    let names = Names::new(&[("rebind.example", &["127.0.0.1", "127.0.0.1", "10.0.0.1"])]);
    let url = format!("http://rebind.example:{}/", web.address.port());
    let seen = download(&request(&url), names, loopback_only);
    assert_eq!(seen.error().kind, FetchErrorKind::Refused);
    assert!(seen.error().message.ends_with("10.0.0.1 is private"));
    assert_eq!((seen.hops.len(), web.seen().len()), (3, 2));
}

#[test]
fn one_bad_address_among_good_ones_is_seen() {
    let names = Names::new(&[("mixed.example", &["127.0.0.1 ::ffff:10.0.0.1 127.0.0.1"])]);
    let seen = download(&request("http://mixed.example:1/"), names, loopback_only);
    assert_eq!(seen.hops[0].addresses.len(), 2);
    assert!(seen.error().message.ends_with("::ffff:10.0.0.1 is private"));
}

#[test]
fn an_address_in_any_spelling_is_judged_as_the_address() {
    for host in ["2130706433", "0x7f.1", "0177.0.0.1", "127.1"] {
        let seen = download(&request(&format!("http://{host}/")), Names::new(&[]), |_| Err("no".into()));
        assert_eq!(seen.hops[0].addresses, ["127.0.0.1".parse::<IpAddr>().unwrap()], "{host}");
    }
    let seen = download(&request("http://[::ffff:a9fe:a9fe]/"), Names::new(&[]), loopback_only);
    assert!(seen.error().message.ends_with("is metadata"));
}

#[test]
fn redirects_end_after_ten() {
    let web = Web::redirecting(|_| "/".to_owned());
    let seen = plainly(&web.url("/"));
    assert_eq!(seen.error().kind, FetchErrorKind::Answer);
    assert!(seen.error().message.contains("more than 10 redirects"), "{}", seen.error());
    assert_eq!((seen.hops.len(), web.seen().len()), (11, 11));
    // Ten are fine.
    let web = Web::start(|asked, stream| match asked.path() {
        "/10" => stream.write_all(&ok(b"hello")),
        path => {
            let next = path[1..].parse::<u32>().unwrap() + 1;
            write!(stream, "HTTP/1.1 307 Temporary Redirect\r\nLocation: {next}\r\n\r\n")
        }
    });
    assert_eq!(plainly(&web.url("/0")).bytes, b"hello");
}

#[test]
fn redirects_lead_to_http_and_https_only() {
    for (location, said) in [
        ("file:///etc/passwd", "only http and https are fetched"),
        ("ftp://example.org/", "only http and https are fetched"),
        ("data:,x", "only http and https are fetched"),
        ("http://user:hunter2@127.0.0.1/", "has a user or password in it"),
        ("http://", "a redirect to http://: "),
        ("http://[", "a redirect to http://[: "),
        ("http://a\u{200b}\u{202e}%00b/", "a redirect to http://a\\u{200b}\\u{202e}%00b/: "),
    ] {
        let web = Web::redirecting(move |_| location.to_owned());
        let seen = plainly(&web.url("/"));
        assert_eq!(seen.hops.len(), 1, "{location}");
        let message = &seen.error().message;
        assert!(message.contains(said) && !message.contains("hunter2"), "{location}: {message}");
    }
}

#[test]
fn what_can_not_be_fetched_is_refused_at_once() {
    let long = format!("http://127.0.0.1/{}", "a".repeat(9000));
    for (url, said) in [
        ("", "not a URL"),
        ("/etc/passwd", "not a URL"),
        ("file:///etc/passwd", "only http and https"),
        ("HTTP://user@127.0.0.1/", "has a user or password"),
        ("https://:secret@127.0.0.1/", "has a user or password"),
        ("http://", "not a URL"),
        ("http://exa mple/", "not a URL"),
        ("http://127.0.0.1:99999/", "not a URL"),
        ("gopher://127.0.0.1/", "only http and https"),
        (&long, "too long"),
    ] {
        let seen = plainly(url);
        assert_eq!(seen.error().kind, FetchErrorKind::Invalid, "{url}");
        assert!(seen.error().message.contains(said), "{url}: {}", seen.error());
        assert!(seen.hops.is_empty());
    }
    let seen = download(&request("http://unknown.example/"), Names::new(&[]), loopback_only);
    assert_eq!(seen.error().kind, FetchErrorKind::Network);
    assert!(seen.error().message.starts_with("http://unknown.example/: look up unknown.example: "));
}

#[test]
fn header_fields_go_to_the_first_origin_only() {
    let other = Web::fixed(ok(b"hello"));
    let location = other.url("/");
    let web = Web::start(move |asked, stream| match asked.path() {
        "/first" => write!(stream, "HTTP/1.1 301 Moved\r\nLocation: /second\r\n\r\n"),
        _ => write!(stream, "HTTP/1.1 308 Moved\r\nLocation: {location}\r\n\r\n"),
    });
    let request =
        FetchRequest { headers: vec![("X-Token".into(), "secret".into())], ..request(&web.url("/first")) };
    assert!(!format!("{request:?}").contains("secret"));
    let seen = download(&request, std::sync::Arc::new(SystemResolver), loopback_only);
    assert_eq!(seen.bytes, b"hello");
    let token =
        |web: &Web| web.seen().iter().map(|asked| asked.fields.contains_key("x-token")).collect::<Vec<_>>();
    assert_eq!(token(&web), [true, true]);
    assert_eq!(token(&other), [false]);
    for (name, value) in [("X\r\nEvil", "a"), ("X-Token", "a\r\nEvil: b")] {
        let request = FetchRequest { headers: vec![(name.into(), value.into())], ..request.clone() };
        let seen = download(&request, std::sync::Arc::new(SystemResolver), loopback_only);
        assert_eq!(seen.error().kind, FetchErrorKind::Network, "{name} {value}");
    }
}

#[test]
fn other_answers_than_the_file_are_errors() {
    for status in [
        "204 No Content",
        "206 Partial Content",
        "300 Multiple",
        "304 Not Modified",
        "404 Not Found",
        "500 Oh",
    ] {
        let web = Web::fixed(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"));
        let seen = plainly(&web.url("/"));
        assert_eq!(seen.error().kind, FetchErrorKind::Answer, "{status}: {}", seen.error());
        assert!(seen.error().message.contains(&status[..3]), "{}", seen.error());
    }
    // A redirect to nowhere.
    let web = Web::fixed("HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(plainly(&web.url("/")).error().kind, FetchErrorKind::Answer);
}

#[test]
fn through_a_proxy_the_hop_says_so_and_has_no_addresses() {
    // A proxy that answers the tunnel's first request itself.
    let web = Web::start(|asked, stream| {
        assert_eq!(asked.line, "CONNECT behind.example:80 HTTP/1.1");
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        std::io::Read::read(stream, &mut [0; 4096])?;
        stream.write_all(&ok(b"hello"))
    });
    let proxy = format!("http://user:secret@{}", web.address);
    let proxies = ProxySettings::from_variables(|name| (name == "http_proxy").then(|| proxy.clone()));
    let request = FetchRequest { proxies, ..request("http://behind.example/") };
    let seen = download(&request, Names::new(&[]), loopback_only);
    assert_eq!(seen.bytes, b"hello", "{:?}", seen.result);
    assert_eq!(seen.hops[0].via_proxy, Some(web.address.to_string()));
    assert!(seen.hops[0].addresses.is_empty());
}
