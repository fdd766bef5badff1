//! The body of a request, passed on up to its end and not one byte further: what follows would be another request.
//! Must not know sockets. Called by [`super::connection`].

use std::io::{self, BufRead, Read, Write};

use super::head::Body;

/// Longest line between chunks, in bytes.
const LONGEST_LINE: u64 = 4096;
/// Most bytes of trailer fields, which are dropped.
const LARGEST_TRAILER: u64 = 16 * 1024;

/// Passes the body on.
///
/// # Errors
/// Either side failed, or the body is not what its head said.
pub(super) fn pass_on(body: Body, from: &mut impl BufRead, to: &mut impl Write) -> io::Result<()> {
    match body {
        Body::Length(length) => exactly(length, from, to),
        Body::Chunked => chunks(from, to),
    }
}

fn exactly(length: u64, from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let copied = io::copy(&mut from.take(length), to)?;
    if copied == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Chunk by chunk (RFC 9112 7.1), each with a size of our own writing; extensions and trailers are dropped.
fn chunks(from: &mut impl BufRead, to: &mut impl Write) -> io::Result<()> {
    loop {
        let size = match httparse::parse_chunk_size(&line(from, LONGEST_LINE)?) {
            Ok(httparse::Status::Complete((_, size))) => size,
            Ok(httparse::Status::Partial) | Err(_) => return Err(broken()),
        };
        if size == 0 {
            break;
        }
        write!(to, "{size:x}\r\n")?;
        exactly(size, from, to)?;
        if line(from, 2)? != b"\r\n" {
            return Err(broken());
        }
        to.write_all(b"\r\n")?;
    }
    let mut left = LARGEST_TRAILER;
    loop {
        let field = line(from, left)?;
        if field == b"\r\n" {
            return to.write_all(b"0\r\n\r\n");
        }
        left -= field.len() as u64;
    }
}

/// Up to the next newline, which is part of it.
fn line(from: &mut impl BufRead, longest: u64) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    from.take(longest).read_until(b'\n', &mut line)?;
    if line.ends_with(b"\r\n") { Ok(line) } else { Err(broken()) }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a broken chunk")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(body: Body, text: &str) -> (io::Result<()>, String, String) {
        let (mut from, mut to) = (text.as_bytes(), Vec::new());
        let result = pass_on(body, &mut from, &mut to);
        (result, String::from_utf8(to).unwrap(), String::from_utf8(from.to_vec()).unwrap())
    }

    #[test]
    fn not_one_byte_more_than_the_body() {
        for (body, text, out) in [
            (Body::Length(3), "abcGET /", "abc"),
            (Body::Length(0), "GET /", ""),
            (Body::Chunked, "0\r\n\r\nGET /", "0\r\n\r\n"),
            (
                Body::Chunked,
                "3;x=y\r\nabc\r\n0A\r\n0123456789\r\n0\r\nX: y\r\n\r\nGET /",
                "3\r\nabc\r\na\r\n0123456789\r\n0\r\n\r\n",
            ),
        ] {
            let (result, to, left) = passed(body, text);
            result.unwrap();
            assert_eq!((to.as_str(), left.as_str()), (out, "GET /"));
        }
    }

    #[test]
    fn broken_bodies_end_the_connection() {
        let long = format!("0\r\n{}\r\n", "X: y\r\n".repeat(5000));
        for (body, text) in [
            (Body::Length(5), "abc"),
            (Body::Chunked, ""),
            (Body::Chunked, "x\r\n"),
            (Body::Chunked, "3\r\nabcd\r\n"),
            (Body::Chunked, "3\r\nab"),
            (Body::Chunked, "3\nabc\n0\n\n"),
            (Body::Chunked, "ffffffffffffffffff\r\n"),
            (Body::Chunked, "-1\r\n"),
            (Body::Chunked, long.as_str()),
        ] {
            assert!(passed(body, text).0.is_err(), "{text:.30}");
        }
    }
}
