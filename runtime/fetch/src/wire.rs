//! What travels between [`crate::Client`] and [`crate::helper`]: frames of a tag, a length and that many bytes.
//!
//! Neither side believes the other's lengths. Must not know what is decided.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::error::FetchError;
use crate::request::{FetchRequest, Fetched, Hop};

/// Largest message, in bytes: a request with its headers.
const LARGEST_MESSAGE: usize = 256 * 1024;
/// Most bytes of a file in one frame.
const LARGEST_PIECE: usize = 64 * 1024;
const MESSAGE: u8 = b'm';
const PIECE: u8 = b'p';

/// What the client says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    Fetch(FetchRequest),
    /// The answer to a hop.
    Verdict(Result<(), String>),
}

/// What the helper says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// May I?
    Hop(Hop),
    Done(Fetched),
    Failed(FetchError),
}

/// A frame that arrived.
#[derive(Debug)]
pub(crate) enum Frame<T> {
    Message(T),
    /// The next bytes of the file.
    Piece(Vec<u8>),
}

pub(crate) fn send<T: Serialize>(channel: &mut impl Write, message: &T) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    if text.len() > LARGEST_MESSAGE {
        return Err(invalid(format!("a message of {} bytes; {LARGEST_MESSAGE} are the limit", text.len())));
    }
    frame(channel, MESSAGE, &text)
}

/// Sends bytes of the file, at most so many that the other side takes them; says how many.
pub(crate) fn send_piece(channel: &mut impl Write, bytes: &[u8]) -> io::Result<usize> {
    let count = bytes.len().min(LARGEST_PIECE);
    frame(channel, PIECE, &bytes[..count])?;
    Ok(count)
}

fn frame(channel: &mut impl Write, tag: u8, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(|_| invalid("too long".to_owned()))?;
    let mut head = [tag, 0, 0, 0, 0];
    head[1..].copy_from_slice(&length.to_be_bytes());
    channel.write_all(&head)?;
    channel.write_all(bytes)?;
    channel.flush()
}

/// Waits for the next frame; none when the other side is gone.
pub(crate) fn receive<T: DeserializeOwned>(channel: &mut impl Read) -> io::Result<Option<Frame<T>>> {
    let mut head = [0; 5];
    let first = loop {
        match channel.read(&mut head) {
            Ok(0) => return Ok(None),
            Ok(count) => break count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // What a killed process leaves when it had unread input.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(error),
        }
    };
    channel.read_exact(&mut head[first..])?;
    let [tag, length @ ..] = head;
    let length = u32::from_be_bytes(length) as usize;
    let limit = match tag {
        MESSAGE => LARGEST_MESSAGE,
        PIECE => LARGEST_PIECE,
        other => return Err(invalid(format!("a frame of unknown kind {other}"))),
    };
    if length > limit {
        return Err(invalid(format!("a frame of {length} bytes; {limit} are the limit")));
    }
    let mut bytes = vec![0; length];
    channel.read_exact(&mut bytes)?;
    match tag {
        MESSAGE => serde_json::from_slice(&bytes)
            .map(|message| Some(Frame::Message(message)))
            .map_err(|error| invalid(error.to_string())),
        _ => Ok(Some(Frame::Piece(bytes))),
    }
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}
