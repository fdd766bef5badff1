//! The head of a request to the proxy: what is asked for, and what of it is passed on.
//!
//! Pure. Where the meaning of a request could be seen in two ways (two lengths, say), it is refused: a server behind the
//! proxy could see in it a second request, to a host that nobody allowed. Callers: [`super::connection`].

use dibw_policy::subject;
use url::{Host, Url};

use crate::request::fetchable;

/// Largest head, in bytes.
pub(super) const LARGEST: usize = 64 * 1024;
const MOST_FIELDS: usize = 128;

/// A request that can be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// A tunnel for TLS.
    Tunnel { host: Host, port: u16 },
    /// Plain http: the head for the server, and what follows it.
    Plain { url: Url, head: Vec<u8>, body: Body, wants_leave: bool },
}

/// How the end of a request's body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    Length(u64),
    Chunked,
}

/// An answer other than the one asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub status: &'static str,
    pub reason: String,
}

pub(super) const BAD_REQUEST: &str = "400 Bad Request";

/// Reads a head from the start of `bytes`: the request and how long its head is; none while some is missing.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Asked, usize)>, Refusal> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() < LARGEST => return Ok(None),
        Ok(httparse::Status::Partial) => return Err(bad("the head of the request is too large")),
        Err(error) => return Err(bad(&format!("not an HTTP request: {error}"))),
    };
    let (method, target) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
    let asked = match method {
        "CONNECT" => tunnel(target)?,
        "GET" | "HEAD" | "POST" => plain(method, target, request.headers)?,
        other => {
            let reason = format!("{}: this proxy serves CONNECT, GET, HEAD and POST", subject::escape(other));
            return Err(Refusal { status: "405 Method Not Allowed", reason });
        }
    };
    Ok(Some((asked, length)))
}

fn bad(reason: &str) -> Refusal {
    Refusal { status: BAD_REQUEST, reason: reason.to_owned() }
}

/// `host:port`, both of them.
fn tunnel(target: &str) -> Result<Asked, Refusal> {
    let refuse = || bad(&format!("CONNECT takes host:port, not {}", subject::escape(target)));
    let (host, port) = target.rsplit_once(':').ok_or_else(refuse)?;
    let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(refuse)?;
    let host = Host::parse(host.strip_suffix('.').unwrap_or(host)).map_err(|_| refuse())?;
    Ok(Asked::Tunnel { host, port })
}

/// An absolute `http://` URL.
fn plain(method: &str, target: &str, fields: &[httparse::Header<'_>]) -> Result<Asked, Refusal> {
    let url = fetchable(target).map_err(|error| bad(&error.message))?;
    if url.scheme() != "http" {
        return Err(bad("https goes through a proxy with CONNECT"));
    }
    let body = body(fields)?;
    let mut head = format!("{method} {} HTTP/1.1\r\nHost: {}\r\n", path(&url), authority(&url)).into_bytes();
    let dropped = named_by_connection(fields);
    let mut wants_leave = false;
    for field in fields {
        let name = field.name.to_ascii_lowercase();
        wants_leave |= name == "expect";
        if HOP_BY_HOP.contains(&name.as_str()) || dropped.contains(&name) {
            continue;
        }
        head.extend_from_slice(field.name.as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(field.value);
        head.extend_from_slice(b"\r\n");
    }
    // The lengths are said anew, so that the server sees the one that we go by.
    match body {
        Body::Length(0) if method != "POST" => {}
        Body::Length(length) => head.extend_from_slice(format!("Content-Length: {length}\r\n").as_bytes()),
        Body::Chunked => head.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
    head.extend_from_slice(b"Connection: close\r\n\r\n");
    Ok(Asked::Plain { url, head, body, wants_leave })
}

/// Fields that are between the client and us (RFC 9110 7.6.1), and those that we write ourselves.
const HOP_BY_HOP: [&str; 12] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

/// More fields that the client declares to be between it and us.
fn named_by_connection(fields: &[httparse::Header<'_>]) -> Vec<String> {
    let values = fields.iter().filter(|field| field.name.eq_ignore_ascii_case("connection"));
    let text = values.map(|field| String::from_utf8_lossy(field.value).to_ascii_lowercase());
    text.flat_map(|text| text.split(',').map(|name| name.trim().to_owned()).collect::<Vec<_>>()).collect()
}

fn body(fields: &[httparse::Header<'_>]) -> Result<Body, Refusal> {
    let of = |name: &str| {
        fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).collect::<Vec<_>>()
    };
    let (lengths, codings) = (of("content-length"), of("transfer-encoding"));
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Ok(Body::Length(0)),
        ([length], []) => std::str::from_utf8(length.value)
            .ok()
            .filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|text| text.parse().ok())
            .map(Body::Length)
            .ok_or_else(|| bad("its Content-Length is not a number")),
        ([], [coding]) if coding.value.eq_ignore_ascii_case(b"chunked") => Ok(Body::Chunked),
        ([], [_]) => Err(bad("of the transfer codings only chunked is served")),
        (_, _) => Err(bad("the length of its body is said more than once")),
    }
}

fn path(url: &Url) -> String {
    match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    }
}

fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(head: &str) -> String {
        parse(head.as_bytes()).map(|asked| panic!("{head}: {asked:?}")).unwrap_err().reason
    }

    #[test]
    fn tunnels() {
        for (target, host) in [
            ("example.org:443", "example.org"),
            ("EXAMPLE.org.:443", "example.org"),
            ("127.0.0.1:443", "127.0.0.1"),
            // One spelling of each address, so that the gate judges what is connected to.
            ("0x7f.1:443", "127.0.0.1"),
            ("[::1]:443", "[::1]"),
        ] {
            let (asked, _) = parse(format!("CONNECT {target} HTTP/1.1\r\n\r\n").as_bytes()).unwrap().unwrap();
            assert_eq!(asked, Asked::Tunnel { host: Host::parse(host).unwrap(), port: 443 });
        }
        for target in [
            "example.org",
            "example.org:",
            "example.org:0",
            "example.org:70000",
            ":443",
            "a/b:443",
            "u@h:443",
            "::1:443",
        ] {
            assert!(
                refused(&format!("CONNECT {target} HTTP/1.1\r\n\r\n")).contains("takes host:port"),
                "{target}"
            );
        }
    }

    #[test]
    fn what_is_passed_on() {
        let text = "POST http://Example.org:8080/a?b#c HTTP/1.1\r\nHost: other\r\nProxy-Authorization: x\r\nX-Own: 1\r\n\
            Connection: close, x-hop\r\nX-Hop: 2\r\nContent-Length: 007\r\nExpect: 100-continue\r\n\r\nrest";
        let (asked, length) = parse(text.as_bytes()).unwrap().unwrap();
        assert_eq!(&text[length..], "rest");
        let Asked::Plain { url, head, body, wants_leave } = asked else { panic!() };
        assert_eq!(url.as_str(), "http://example.org:8080/a?b");
        assert_eq!((body, wants_leave), (Body::Length(7), true));
        assert_eq!(
            String::from_utf8(head).unwrap(),
            "POST /a?b HTTP/1.1\r\nHost: example.org:8080\r\nX-Own: 1\r\nContent-Length: 7\r\nConnection: close\r\n\r\n"
        );
    }

    #[test]
    fn requests_with_two_meanings_are_refused() {
        let field = |fields: &str| refused(&format!("POST http://a/ HTTP/1.1\r\n{fields}\r\n\r\n"));
        assert_eq!(
            field("Content-Length: 1\r\nContent-Length: 1"),
            "the length of its body is said more than once"
        );
        assert_eq!(
            field("Content-Length: 1\r\nTransfer-Encoding: chunked"),
            "the length of its body is said more than once"
        );
        assert_eq!(field("Content-Length: +1"), "its Content-Length is not a number");
        assert_eq!(field("Content-Length: 1, 1"), "its Content-Length is not a number");
        assert_eq!(field("Content-Length: 99999999999999999999"), "its Content-Length is not a number");
        assert_eq!(
            field("Transfer-Encoding: gzip, chunked"),
            "of the transfer codings only chunked is served"
        );
        assert!(field("X: a\r\n b").contains("not an HTTP request"));
        assert!(field("X : a").contains("not an HTTP request"));
        assert!(refused("GET / HTTP/1.1\r\n\r\n").contains("not a URL"));
        assert!(refused("GET https://a/ HTTP/1.1\r\n\r\n").contains("with CONNECT"));
        assert!(refused("GET file:///etc/passwd HTTP/1.1\r\n\r\n").contains("only http and https"));
        assert!(refused("GET http://u:secret@a/ HTTP/1.1\r\n\r\n").contains("has a user or password"));
        assert!(refused("DELETE http://a/ HTTP/1.1\r\n\r\n").contains("serves CONNECT"));
        assert!(refused("\u{16}\u{3}\u{1}").contains("not an HTTP request"));
        assert!(refused(&format!("GET http://a/{} HTTP/1.1\r\n", "a".repeat(LARGEST))).contains("too large"));
        assert!(
            refused(&format!("GET http://a/ HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(200)))
                .contains("not an HTTP")
        );
        assert_eq!(parse(b"GET http://a/ HT"), Ok(None));
    }
}
