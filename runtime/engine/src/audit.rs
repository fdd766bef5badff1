//! The record of every decision: one JSON object a line, each chained to the one before, written beside the artifacts as
//! `NAME.audit.jsonl` and, when the policy says so, into logs of the site.
//!
//! A site's log gets the whole chain when the build ends, well or not; until then it grows in a file of its own beside it, which is what
//! a killed build leaves.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use dibw_plan::rules::Rules;
use dibw_policy::{Chain, Circumstance, Mode, Record};
use dibw_sys::calendar::Moment;

/// All records of a build.
pub struct Audit {
    chain: Option<Chain>,
    mode: Mode,
    lines: String,
    refused: bool,
    /// What was added since somebody took it.
    recent: Vec<Record>,
    logs: Vec<SiteLog>,
}

/// A log of the site, and the records of this build until they are in it.
struct SiteLog {
    path: PathBuf,
    passing_path: PathBuf,
    passing: File,
}

impl Audit {
    /// The log of the build called `build`.
    ///
    /// # Errors
    /// When a log of the site can't be written to.
    pub fn open(build: &str, rules: &Rules) -> Result<Self> {
        let logs = rules.audit_logs.iter().map(|path| SiteLog::open(Path::new(path), build));
        Ok(Self {
            chain: Some(Chain::new(build, &rules.digest)),
            mode: rules.mode,
            lines: String::new(),
            refused: false,
            recent: Vec::new(),
            logs: logs.collect::<Result<_>>()?,
        })
    }

    /// Adds one record.
    ///
    /// # Errors
    /// When it can't be written: nothing goes on unrecorded.
    pub fn add(&mut self, record: &Record) -> Result<()> {
        self.refused |= record.decision != "allow";
        self.recent.push(record.clone());
        let Some(chain) = &mut self.chain else { return Ok(()) };
        let line = chain.line(record, &Circumstance { t: now(), ..Circumstance::default() });
        self.write(&line)
    }

    /// Ends the chain and hands it to the site. Nothing is recorded after that.
    ///
    /// # Errors
    /// When a log of the site can't be written to.
    pub fn end(&mut self) -> Result<()> {
        let Some(chain) = self.chain.take() else { return Ok(()) };
        let line = chain.end(&now(), self.mode);
        self.write(&line)?;
        self.logs.drain(..).try_for_each(|log| log.close(&self.lines))
    }

    /// Takes the records since the last time: those of a step, to be kept with its layer.
    pub fn take_recent(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.recent)
    }

    /// Whether something was refused, or would have been.
    pub fn refused(&self) -> bool {
        self.refused
    }

    /// All records, one a line.
    pub fn text(&self) -> &str {
        &self.lines
    }

    fn write(&mut self, line: &str) -> Result<()> {
        self.lines.push_str(line);
        self.lines.push('\n');
        self.logs.iter_mut().try_for_each(|log| {
            let written = writeln!(log.passing, "{line}").and_then(|()| log.passing.sync_data());
            written.with_context(|| format!("the audit log {}", log.passing_path.display()))
        })
    }
}

impl SiteLog {
    fn open(path: &Path, build: &str) -> Result<Self> {
        let passing_path = PathBuf::from(format!("{}.{build}", path.display()));
        let open = || -> std::io::Result<File> {
            if let Some(directory) = path.parent() {
                fs::create_dir_all(directory)?;
            }
            append(path)?;
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&passing_path)
        };
        let passing = open().with_context(|| format!("the audit log {}", path.display()))?;
        Ok(Self { path: path.to_owned(), passing_path, passing })
    }

    fn close(self, lines: &str) -> Result<()> {
        let append = || -> std::io::Result<()> {
            let mut log = append(&self.path)?;
            // Other builds append, too, each all at once.
            log.lock()?;
            log.write_all(lines.as_bytes())?;
            log.sync_data()?;
            fs::remove_file(&self.passing_path)
        };
        append().with_context(|| format!("the audit log {}", self.path.display()))
    }
}

fn append(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// Now, as records say it.
fn now() -> String {
    let Moment { year, month, day, hour, minute, second } = Moment::at(std::time::SystemTime::now());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(decision: &'static str) -> Record {
        Record {
            element: "motd".to_owned(),
            digest: None,
            phase: "install".to_owned(),
            capability: "target.write".to_owned(),
            subject: "/etc/motd".to_owned(),
            decision,
            rule: "a rule".to_owned(),
            mode: Mode::Enforce,
        }
    }

    #[test]
    fn logs_of_the_site_hold_whole_chains_one_after_the_other() {
        let scratch = tempfile::tempdir().unwrap();
        let log = scratch.path().join("logs/audit.jsonl");
        let rules = Rules { audit_logs: vec![log.display().to_string()], ..Rules::default() };
        let mut first = Audit::open("a", &rules).unwrap();
        let mut second = Audit::open("b", &rules).unwrap();
        first.add(&record("allow")).unwrap();
        second.add(&record("deny")).unwrap();
        first.add(&record("allow")).unwrap();
        assert!(scratch.path().join("logs/audit.jsonl.a").exists(), "a killed build leaves what it did");
        assert_eq!((first.refused(), second.refused()), (false, true));
        second.end().unwrap();
        first.end().unwrap();
        let text = fs::read_to_string(&log).unwrap();
        let summary = dibw_policy::audit::verify(&text).unwrap();
        assert_eq!((summary.records, summary.denied.len()), (3, 1));
        assert_eq!(fs::read_dir(log.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_log_that_cannot_be_written_stops_the_build() {
        let rules = Rules { audit_logs: vec!["/proc/no/audit.jsonl".to_owned()], ..Rules::default() };
        assert!(Audit::open("a", &rules).is_err());
    }
}
