//! Owns turning the bytes of a command's two output pipes into lines, with bounded memory.
//! Must not know the command. Called by `process` only.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, read};

use crate::process::{OnLine, Stream, Take};

/// A longer line is delivered in pieces of this many bytes.
const LONGEST_LINE: usize = 8 * 1024;
/// How many lines are kept for the message of a failure.
const TAIL_LINES: usize = 20;

/// The two pipes, what was read of an unfinished line of each, and the last lines of both.
pub(crate) struct Lines {
    pipes: [Pipe; 2],
    tail: VecDeque<String>,
}

struct Pipe {
    stream: Stream,
    end: Option<OwnedFd>,
    partial: Vec<u8>,
}

impl Lines {
    /// Takes the read ends of stdout and stderr, and makes them non-blocking.
    pub fn new([stdout, stderr]: [Option<OwnedFd>; 2]) -> Result<Self> {
        for pipe in [&stdout, &stderr].into_iter().flatten() {
            let flags = fcntl_getfl(pipe).context("flags of an output pipe")?;
            fcntl_setfl(pipe, flags | OFlags::NONBLOCK).context("make an output pipe non-blocking")?;
        }
        let pipe = |stream, end| Pipe { stream, end, partial: Vec::new() };
        Ok(Self {
            pipes: [pipe(Stream::Stdout, stdout), pipe(Stream::Stderr, stderr)],
            tail: VecDeque::new(),
        })
    }

    /// The pipes that may still bring something.
    pub fn open_descriptors(&self) -> impl Iterator<Item = &OwnedFd> {
        self.pipes.iter().filter_map(|pipe| pipe.end.as_ref())
    }

    /// Reads what is there and delivers the whole lines, or all of it as it is. Returns how many bytes that were.
    pub fn drain(&mut self, take: &mut Take<'_>) -> Result<u64> {
        let mut buffer = [0; 16 * 1024];
        let mut bytes = 0;
        for pipe in &mut self.pipes {
            // Bounded rounds, so that a command that never stops writing can't keep the watcher from its clock.
            for _ in 0..64 {
                let Some(end) = &pipe.end else { break };
                match read(end, &mut buffer) {
                    Ok(0) => pipe.end = None,
                    Ok(count) => {
                        bytes += count as u64;
                        match take {
                            Take::Lines(on_line) => pipe.take(&buffer[..count], &mut self.tail, on_line),
                            Take::Bytes(on_bytes) => on_bytes(pipe.stream, &buffer[..count]),
                            Take::Nothing => {}
                        }
                    }
                    Err(Errno::AGAIN) => break,
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(error).context("read the output of a command"),
                }
            }
        }
        Ok(bytes)
    }

    /// Delivers last lines that had no line end, and gives the tail.
    pub fn finish(mut self, take: &mut Take<'_>) -> Vec<String> {
        if let Take::Lines(on_line) = take {
            for pipe in self.pipes.iter_mut().filter(|pipe| !pipe.partial.is_empty()) {
                let line = std::mem::take(&mut pipe.partial);
                deliver(pipe.stream, &line, &mut self.tail, on_line);
            }
        }
        self.tail.into()
    }
}

impl Pipe {
    fn take(&mut self, mut bytes: &[u8], tail: &mut VecDeque<String>, on_line: OnLine<'_>) {
        while !bytes.is_empty() {
            let room = LONGEST_LINE - self.partial.len();
            let window = &bytes[..bytes.len().min(room)];
            let line_end = window.iter().position(|byte| *byte == b'\n');
            self.partial.extend_from_slice(&window[..line_end.unwrap_or(window.len())]);
            bytes = &bytes[line_end.map_or(window.len(), |end| end + 1)..];
            if line_end.is_some() || self.partial.len() == LONGEST_LINE {
                let rest =
                    if line_end.is_some() { Vec::new() } else { split_off_cut_character(&mut self.partial) };
                deliver(self.stream, &self.partial, tail, on_line);
                self.partial = rest;
            }
        }
    }
}

/// Takes the bytes of a UTF-8 character that is not whole yet off the end of `bytes`.
fn split_off_cut_character(bytes: &mut Vec<u8>) -> Vec<u8> {
    let lead = bytes.iter().rev().take(3).position(|byte| byte & 0xC0 == 0xC0);
    match lead {
        Some(back) if std::str::from_utf8(&bytes[bytes.len() - back - 1..]).is_err() => {
            bytes.split_off(bytes.len() - back - 1)
        }
        _ => Vec::new(),
    }
}

fn deliver(stream: Stream, line: &[u8], tail: &mut VecDeque<String>, on_line: OnLine<'_>) {
    let text = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned();
    on_line(stream, &text);
    if tail.len() == TAIL_LINES {
        tail.pop_front();
    }
    tail.push_back(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(chunks: &[&[u8]]) -> Vec<String> {
        let mut pipe = Pipe { stream: Stream::Stdout, end: None, partial: Vec::new() };
        let mut tail = VecDeque::new();
        let mut seen = Vec::new();
        for chunk in chunks {
            pipe.take(chunk, &mut tail, &mut |_, line| seen.push(line.to_owned()));
        }
        seen
    }

    #[test]
    fn chunks_become_lines() {
        for (chunks, lines) in [
            (vec![b"a\nb".as_slice(), b"c\n\nd"], vec!["a", "bc", ""]),
            (vec![b"dos\r\n".as_slice()], vec!["dos"]),
            (vec![b"\xff\n".as_slice()], vec!["\u{fffd}"]),
        ] {
            assert_eq!(lines_of(&chunks), lines);
        }
    }

    #[test]
    fn bytes_come_as_they_were_written() {
        let written = [b"\xff\r\n".as_slice(), &[b'x'; LONGEST_LINE + 1]].concat();
        let (reader, writer) = std::io::pipe().unwrap();
        std::io::Write::write_all(&mut &writer, &written).unwrap();
        drop(writer);
        let mut seen = Vec::new();
        let mut on_bytes = |_, bytes: &[u8]| seen.extend_from_slice(bytes);
        let mut take = Take::Bytes(&mut on_bytes);
        let mut lines = Lines::new([Some(reader.into()), None]).unwrap();
        lines.drain(&mut take).unwrap();
        assert_eq!(lines.finish(&mut take), [""; 0]);
        assert_eq!(seen, written);
    }

    #[test]
    fn a_long_line_is_split_between_characters() {
        let text = format!("x{}\n", "é".repeat(LONGEST_LINE));
        let lines = lines_of(&[text.as_bytes()]);
        assert_eq!(lines.len(), 3);
        assert_eq!(lines.concat(), text.trim_end());
        assert!(lines.iter().all(|line| line.len() <= LONGEST_LINE));
    }
}
