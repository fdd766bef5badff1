//! The body of the process that downloads: it may ask, connect and hand bytes on, and decides nothing.
//!
//! It runs unprivileged (`dibw_sys::helper`), with no descriptor but its channel. Callers: the engine, right after the start
//! of the helper process.

use std::io::{self, Read, Write};
use std::sync::Arc;

use crate::error::{FetchError, FetchErrorKind};
use crate::fetcher::Fetcher;
use crate::request::{FetchRequest, Hop};
use crate::resolve::{Resolver, SystemResolver};
use crate::wire::{self, Frame, Order, Report};

/// Serves downloads until the other side of `channel` is gone. Names are looked up as this machine does.
///
/// # Errors
/// The channel broke, or what came over it makes no sense.
pub fn serve<C: Read + Write>(channel: C) -> io::Result<()> {
    serve_with(channel, Arc::new(SystemResolver))
}

/// As [`serve`], with another way to look up names.
///
/// # Errors
/// As [`serve`].
pub fn serve_with<C: Read + Write>(mut channel: C, resolver: Arc<dyn Resolver>) -> io::Result<()> {
    let fetcher = Fetcher::new(resolver);
    while let Some(frame) = wire::receive(&mut channel)? {
        let Frame::Message(Order::Fetch(request)) = frame else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "something else than a request came"));
        };
        let report = match download(&fetcher, &request, &mut channel) {
            Ok(fetched) => Report::Done(fetched),
            Err(error) => Report::Failed(error),
        };
        wire::send(&mut channel, &report)?;
    }
    Ok(())
}

fn download<C: Read + Write>(
    fetcher: &Fetcher,
    request: &FetchRequest,
    channel: &mut C,
) -> Result<crate::Fetched, FetchError> {
    // Both the question before a hop and the bytes after it go over the one channel.
    let channel = std::cell::RefCell::new(channel);
    let mut allow = |hop: &Hop| ask(&mut **channel.borrow_mut(), hop);
    fetcher.fetch(request, &mut allow, &mut Pieces(&channel)).map_err(|error| match error.kind {
        // The client knows better than we why its channel takes no more.
        FetchErrorKind::Local => FetchError::new(FetchErrorKind::Helper, "the client is gone"),
        _ => error,
    })
}

fn ask<C: Read + Write>(channel: &mut C, hop: &Hop) -> Result<(), String> {
    let broken = |error: io::Error| format!("ask for leave: {error}");
    wire::send(channel, &Report::Hop(hop.clone())).map_err(broken)?;
    match wire::receive(channel).map_err(broken)? {
        Some(Frame::Message(Order::Verdict(verdict))) => verdict,
        Some(Frame::Message(Order::Fetch(_)) | Frame::Piece(_)) | None => Err("no verdict came".to_owned()),
    }
}

/// The file as frames.
struct Pieces<'a, 'c, C>(&'a std::cell::RefCell<&'c mut C>);

impl<C: Write> Write for Pieces<'_, '_, C> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        wire::send_piece(&mut **self.0.borrow_mut(), bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.borrow_mut().flush()
    }
}
