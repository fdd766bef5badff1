//! Standard output and error of a component from another language: lines of the build's log, like those of `log`, bounded and escaped.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use dibw_policy::subject::escape_controls;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::gate::State;
use crate::lent::LogLevel;

/// What one call may write; it is taken away before the next.
const ROOM: usize = 64 * 1024;

/// A longer line is logged in pieces.
const LONGEST_LINE: usize = 8 * 1024;

/// Both streams.
#[derive(Default)]
pub(super) struct Output {
    stdout: Pipe,
    stderr: Pipe,
}

/// What was written and not yet logged.
#[derive(Clone, Default)]
pub(super) struct Pipe(Arc<Mutex<Vec<u8>>>);

impl Output {
    pub(super) fn stdout(&self) -> Pipe {
        self.stdout.clone()
    }

    pub(super) fn stderr(&self) -> Pipe {
        self.stderr.clone()
    }
}

impl Pipe {
    fn written(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the next whole line, or a piece of a long one; at the `end` also what is left.
    fn next_line(&self, end: End) -> Option<Vec<u8>> {
        let mut written = self.written();
        let line_end = written.iter().take(LONGEST_LINE + 1).position(|byte| *byte == b'\n');
        let length = match (line_end, end) {
            (Some(at), _) => at + 1,
            (None, _) if written.len() > LONGEST_LINE => LONGEST_LINE,
            (None, End::OfHook) if !written.is_empty() => written.len(),
            (None, End::OfHook | End::OfCall) => return None,
        };
        let mut line: Vec<u8> = written.drain(..length).collect();
        line.pop_if(|last| *last == b'\n');
        Some(line)
    }
}

/// What is over.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// A call of the host; the line may go on.
    OfCall,
    /// The hook.
    OfHook,
}

impl State {
    /// Logs what a component from another language printed.
    ///
    /// # Errors
    /// It printed more than may be logged.
    pub(crate) fn log_output(&mut self, end: End) -> wasmtime::Result<()> {
        let Some(wasi) = &self.wasi else { return Ok(()) };
        let streams = [(wasi.output.stdout(), LogLevel::Info), (wasi.output.stderr(), LogLevel::Warn)];
        for (pipe, level) in streams {
            while let Some(line) = pipe.next_line(end) {
                self.charge(line.len())?;
                self.lent.log(level, &escape_controls(&String::from_utf8_lossy(&line)));
            }
        }
        Ok(())
    }
}

impl IsTerminal for Pipe {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Pipe {
    /// Not used by WASI 0.2.
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        MemoryOutputPipe::new(0).async_stream()
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for Pipe {
    async fn ready(&mut self) {}
}

impl OutputStream for Pipe {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.written().extend_from_slice(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(ROOM)
    }
}
