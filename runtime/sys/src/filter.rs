//! Owns a program of the host that turns what we write into what a file receives: a compressor that the user prefers to ours.
//! Must not know what passes. Called by the engine.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result, bail};
use rustix::fs::MemfdFlags;

use crate::tool::TOOL_PATH;

/// The most that is shown of what a failed program said.
const MESSAGE: usize = 2000;

/// A program that runs. Dropped without [`Filter::finish`] it is killed.
pub struct Filter {
    line: String,
    child: Child,
    input: Option<ChildStdin>,
    /// A file and not a pipe: nobody reads it while the program runs.
    messages: File,
}

impl Filter {
    /// Starts `argv` with its standard output in `out`, with `LC_ALL=C`, a fixed `PATH` and nothing else.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start(argv: &[String], out: &File) -> Result<Filter> {
        let line = argv.join(" ");
        let (program, args) = argv.split_first().context("no program is named")?;
        let messages = rustix::fs::memfd_create("messages", MemfdFlags::CLOEXEC).context("memfd_create")?;
        let messages = File::from(messages);
        tracing::debug!(command = %line, "run");
        let mut command = Command::new(program);
        command.args(args).env_clear().env("LC_ALL", "C").env("PATH", TOOL_PATH).current_dir("/");
        command.process_group(0).stdin(Stdio::piped());
        command.stdout(out.try_clone().with_context(|| line.clone())?);
        command.stderr(messages.try_clone().with_context(|| line.clone())?);
        let mut child = command.spawn().with_context(|| line.clone())?;
        let input = child.stdin.take();
        Ok(Filter { line, child, input, messages })
    }

    /// Ends its input and waits for it.
    ///
    /// # Errors
    /// When it fails: with its command line and what it said.
    pub fn finish(mut self) -> Result<()> {
        drop(self.input.take());
        let status = self.child.wait().with_context(|| self.line.clone())?;
        if !status.success() {
            let said = self.said();
            bail!("{}: {status}{said}", self.line);
        }
        Ok(())
    }

    fn said(&mut self) -> String {
        let mut bytes = Vec::new();
        let read = self.messages.seek(SeekFrom::Start(0)).and_then(|_| self.messages.read_to_end(&mut bytes));
        if let Err(error) = read {
            tracing::debug!("what {} said: {error}", self.line);
        }
        let text = String::from_utf8_lossy(&bytes);
        let text: String = text.trim_end().chars().take(MESSAGE).collect();
        text.lines().map(|line| format!("\n  {line}")).collect()
    }
}

impl Write for Filter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.input {
            Some(input) => input.write(bytes).map_err(|error| match error.kind() {
                // It says itself, at the end, why it went.
                io::ErrorKind::BrokenPipe => io::Error::other(format!("{} ended early", self.line)),
                _ => error,
            }),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.input.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        // After finish() it is gone, and both calls say so.
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait().map(drop)) {
            tracing::debug!("{}: {error}", self.line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Vec<String> {
        ["sh", "-c", script].map(str::to_owned).into()
    }

    #[test]
    fn what_is_written_passes_through_into_the_file() {
        let mut out = tempfile::tempfile().unwrap();
        let mut filter = Filter::start(&shell("tr a-z A-Z"), &out).unwrap();
        filter.write_all(&b"hello ".repeat(100_000)).unwrap();
        filter.finish().unwrap();
        out.seek(SeekFrom::Start(0)).unwrap();
        let mut text = String::new();
        out.read_to_string(&mut text).unwrap();
        assert_eq!(text, "HELLO ".repeat(100_000));
    }

    #[test]
    fn a_failure_has_the_command_and_its_message() {
        let out = tempfile::tempfile().unwrap();
        let filter = Filter::start(&shell("cat >/dev/null; echo no >&2; exit 3"), &out).unwrap();
        let message = filter.finish().unwrap_err().to_string();
        assert_eq!(message, "sh -c cat >/dev/null; echo no >&2; exit 3: exit status: 3\n  no");
    }
}
