//! The log of the classic commands: lines on standard output with the time in front, and the same in a log file.
//! Facts: compat/CONTRACT.md section 1.8. Lines that name shell options are not dropped, as upstream's filter did.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use dibw_engine::{Event, Events, Level};
use dibw_sys::calendar::Moment;

/// Where lines go.
pub struct Log {
    file: Option<RefCell<File>>,
    quiet: bool,
    timestamps: bool,
}

impl Log {
    /// Opens the log; a log file is appended to.
    ///
    /// # Errors
    /// When the file can't be opened.
    pub fn open(file: Option<&Path>, quiet: bool, timestamps: bool) -> anyhow::Result<Self> {
        let open = |path: &Path| {
            let opened = OpenOptions::new().create(true).append(true).open(path);
            opened.with_context(|| format!("log file {}", path.display())).map(RefCell::new)
        };
        Ok(Self { file: file.map(open).transpose()?, quiet, timestamps })
    }

    /// Writes a text, a line at a time. That nobody listens any more is no reason to stop building.
    pub fn say(&self, text: &str) {
        let now = now();
        for line in text.lines() {
            if !self.quiet {
                let stamp = if self.timestamps { now.as_str() } else { "" };
                if let Err(error) = writeln!(std::io::stdout(), "{stamp}{line}") {
                    tracing::debug!("standard output: {error}");
                }
            }
            if let Some(file) = &self.file
                && let Err(error) = writeln!(file.borrow_mut(), "{now}{line}")
            {
                tracing::debug!("log file: {error}");
            }
        }
    }
}

impl Events for Log {
    fn tell(&self, event: Event) {
        match event {
            Event::Output { line } => self.say(&line),
            Event::Message { level: Level::Debug, .. } | Event::Started { .. } | Event::StepDone { .. } => {}
            Event::Message { level, element, text } => {
                let mark = match level {
                    Level::Debug | Level::Info => "",
                    Level::Warn => "WARNING: ",
                    Level::Error => "ERROR: ",
                };
                let from = if element.is_empty() { String::new() } else { format!("{element}: ") };
                self.say(&format!("{mark}{from}{text}"));
            }
            Event::Step { phase, title, .. } if phase.is_empty() => self.say(&format!("dibw: {title}")),
            Event::Step { phase, title, .. } => self.say(&format!("dibw: {phase}: {title}")),
            Event::Artifact { path, .. } => self.say(&format!("Image file {} created...", path.display())),
            Event::Finished { .. } => self.say("Build completed successfully"),
        }
    }
}

/// The time in UTC, in milliseconds: `2026-11-21 15:04:05.678 | `.
fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let Moment { year, month, day, hour, minute, second } = Moment::of(since.as_secs());
    let milli = since.subsec_millis();
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{milli:03} | ")
}
