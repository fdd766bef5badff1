//! Owns starting this very program anew for a job (`spec`), and the socket over which the two talk.
//! Must not know what the jobs mean. Called by `runner` and `userns` on one side, by `entry` on the other.

use std::io::{BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use serde::{Serialize, de::DeserializeOwned};

use crate::spec::Job;

/// The private first argument by which [`crate::entry::dispatch`] knows that it is meant.
pub(crate) const WORD: &str = "__dibw-sandbox";

/// One end of the conversation.
pub(crate) struct Channel {
    socket: BufReader<UnixStream>,
}

/// Where the output of a started process goes; none means to our own stderr.
pub(crate) struct Outputs {
    pub stdout: Stdio,
    pub stderr: Stdio,
}

impl Channel {
    /// Starts `runner` for `job`. It inherits nothing but its end of the channel (as standard input) and its outputs.
    pub fn start(runner: &Path, job: &Job, outputs: Option<Outputs>) -> Result<(Child, Channel)> {
        let (ours, theirs) = UnixStream::pair().context("socket pair")?;
        let mut command = Command::new(runner);
        command.arg(WORD).env_clear().current_dir("/");
        command.stdin(Stdio::from(OwnedFd::from(theirs)));
        match outputs {
            Some(outputs) => command.stdout(outputs.stdout).stderr(outputs.stderr),
            None => command.stdout(Stdio::null()),
        };
        // No pre_exec: without it std uses vfork, which does not copy the page tables of a large engine.
        let child = command.spawn().with_context(|| format!("start {}", runner.display()))?;
        let mut channel = Channel::over(ours);
        channel.send(job)?;
        Ok((child, channel))
    }

    /// The end over `socket`.
    pub fn over(socket: UnixStream) -> Self {
        Self { socket: BufReader::new(socket) }
    }

    /// Says something. A listener that is gone is not an error: its end is noticed by waiting for it.
    pub fn send<T: Serialize>(&mut self, message: &T) -> Result<()> {
        let mut line = serde_json::to_vec(message).context("encode a message")?;
        line.push(b'\n');
        match self.socket.get_mut().write_all(&line) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            answer => answer.context("send a message"),
        }
    }

    /// Waits for the next message; none when the other side is gone.
    pub fn receive<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        let mut line = String::new();
        match self.socket.read_line(&mut line) {
            Ok(0) => Ok(None),
            Ok(_) => serde_json::from_str(&line).map(Some).context("decode a message"),
            // What a killed process leaves when it had unread input.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(None),
            Err(error) => Err(error).context("receive a message"),
        }
    }

    /// Tells the other side to stop; what it has to say can still be received.
    pub fn hang_up(&self) -> Result<()> {
        match self.socket.get_ref().shutdown(Shutdown::Write) {
            Err(error) if error.kind() == std::io::ErrorKind::NotConnected => Ok(()),
            answer => answer.context("shut the channel down"),
        }
    }

    /// For polling.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.get_ref().as_fd()
    }
}
