//! Classic hooks: one script of the merged hooks tree, inside the target's sandbox or outside on the host, confined.

use std::collections::VecDeque;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use dibw_plan::{Extra, Phase, Side, Step};
use dibw_sys::full::says_full_in_words;

use crate::environment::Variables;
use crate::events::{Event, Level, printable};
use crate::failure::Failure;
use crate::machine::{Ending, Inside, Outside, Stream};
use crate::run::Build;

/// Where hooks see the merged tree in the target.
pub const IN_TARGET: &str = "/tmp/in_target.d";

/// How many lines of a failing command the user sees.
const TAIL: usize = 20;

/// The last lines of a command, passed on as they come.
#[derive(Default)]
pub struct Lines {
    tail: VecDeque<String>,
    /// Everything on standard output, when it is kept.
    pub stdout: String,
    keep_stdout: bool,
}

impl Lines {
    /// Passes every line on.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps standard output to itself.
    pub fn keeping_stdout() -> Self {
        Self { keep_stdout: true, ..Self::new() }
    }

    /// Takes one line.
    pub fn take(&mut self, build: &Build<'_>, stream: Stream, line: &str) {
        if self.keep_stdout && stream == Stream::Stdout {
            self.stdout.push_str(line);
            self.stdout.push('\n');
            return;
        }
        let line = printable(line);
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line.clone());
        build.tell(Event::Output { line });
    }

    /// Success, or a failure that names the command and has its last lines.
    pub fn judge(self, what: &str, ending: Ending) -> Result<String, Failure> {
        let (message, status) = match ending {
            Ending::Exited(0) => return Ok(self.stdout),
            Ending::Interrupted => return Err(Failure::interrupted()),
            Ending::Exited(status) => (format!("{what} failed with exit status {status}"), Some(status)),
            Ending::Signalled(signal) => (format!("{what} was ended by signal {signal}"), Some(128 + signal)),
            Ending::TimedOut => (format!("{what} took longer than it may"), None),
        };
        let full = self.tail.iter().any(|line| says_full_in_words(line));
        Err(Failure { status, full, tail: self.tail.into(), ..Failure::new(message) })
    }
}

impl Build<'_> {
    /// Runs the script of a step.
    pub(crate) fn script(&mut self, phase: Phase, name: &str, step: &Step) -> Result<(), Failure> {
        let file = self.hooks.join(format!("{phase}.d")).join(name);
        let what = format!("{phase}.d/{name} of element {}", step.element.as_deref().unwrap_or("?"));
        let mut lines = Lines::new();
        let ending = match phase.side() {
            Side::Inside => {
                let seen = format!("{IN_TARGET}/{phase}.d/{name}");
                let command = Inside {
                    argv: with_interpreter(&file, &seen)?,
                    env: self.inside_variables(),
                    network: step.extras.contains(&Extra::Network),
                    image_devices: step.extras.contains(&Extra::ImageDevices),
                    read_only: vec![(self.hooks.clone(), IN_TARGET.to_owned())],
                    ..Inside::default()
                };
                self.inside(&command, &mut lines)?
            }
            Side::Outside => {
                let command = Outside {
                    argv: with_interpreter(&file, &file.display().to_string())?,
                    env: self.outside_variables(phase)?,
                    cwd: self.start_dir.clone(),
                    confinement: step.confinement,
                    network: step.extras.contains(&Extra::Network),
                    writable: self.writable()?,
                    readable: self.readable(),
                };
                self.outside(&command, &mut lines)?
            }
        };
        lines.judge(&what, ending).map(drop)
    }

    /// Runs a command in the target's sandbox, passing its lines on.
    pub(crate) fn inside(&self, command: &Inside, lines: &mut Lines) -> Result<Ending, Failure> {
        let mut machine = self.machine.borrow_mut();
        Ok(machine.inside(command, &mut |stream, line| lines.take(self, stream, line))?)
    }

    /// Runs a command on the host, passing its lines on.
    pub(crate) fn outside(&self, command: &Outside, lines: &mut Lines) -> Result<Ending, Failure> {
        let mut machine = self.machine.borrow_mut();
        Ok(machine.outside(command, &mut |stream, line| lines.take(self, stream, line))?)
    }

    /// What hooks in the target see.
    pub(crate) fn inside_variables(&self) -> Variables {
        let fixed = [
            ("HOME", "/root"),
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
            ("LC_ALL", "C"),
            // systemctl must change links and not look for a running systemd
            ("SYSTEMD_OFFLINE", "1"),
        ];
        let mut variables = self.variables.clone();
        variables.extend(fixed.map(|(name, value)| (name.to_owned(), value.to_owned())));
        variables
    }

    /// What hooks on the host see.
    pub(crate) fn outside_variables(&self, phase: Phase) -> Result<Variables, Failure> {
        let mut variables = self.variables.clone();
        let fixed = [
            ("HOME", "/root"),
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
            ("LC_ALL", "C"),
        ];
        variables.extend(fixed.map(|(name, value)| (name.to_owned(), value.to_owned())));
        if matches!(phase, Phase::Root | Phase::Cleanup) {
            variables.insert("TARGET_ROOT".into(), self.target()?.display().to_string());
        }
        Ok(variables)
    }

    /// The directories that hooks on the host may write to.
    fn writable(&self) -> Result<Vec<PathBuf>, Failure> {
        let work_dir = self.machine().work_dir().to_path_buf();
        Ok(vec![work_dir, self.image_cache.clone(), self.target()?])
    }

    /// The directories that hooks on the host must see.
    fn readable(&self) -> Vec<PathBuf> {
        let elements = self.plan.elements.iter().map(|element| PathBuf::from(&element.path));
        elements.chain([self.hooks.clone(), self.start_dir.clone()]).collect()
    }

    /// Evaluates `environment.d` for a phase into this build's variables.
    pub(crate) fn environment(&mut self, phase: Phase, files: &[String]) -> Result<(), Failure> {
        self.variables = self.base_variables.clone();
        if files.is_empty() {
            return Ok(());
        }
        let what = format!("environment.d before {phase}");
        let mut lines = Lines::keeping_stdout();
        // Files test paths of the target in phases that run in it, and of the host in the others.
        let ending = match phase.side() {
            Side::Inside => {
                let command = Inside {
                    argv: crate::environment::command(&format!("{IN_TARGET}/environment.d"), files),
                    env: self.inside_variables(),
                    timeout: Some(ENVIRONMENT_TIMEOUT),
                    read_only: vec![(self.hooks.clone(), IN_TARGET.to_owned())],
                    discard: true,
                    ..Inside::default()
                };
                self.inside(&command, &mut lines)?
            }
            Side::Outside => {
                let directory = self.hooks.join("environment.d").display().to_string();
                let command = Outside {
                    argv: crate::environment::command(&directory, files),
                    env: self.outside_variables(phase)?,
                    cwd: self.start_dir.clone(),
                    confinement: dibw_plan::Confinement::Confined,
                    network: false,
                    writable: Vec::new(),
                    readable: self.readable(),
                };
                self.outside(&command, &mut lines)?
            }
        };
        let text = lines.judge(&what, ending)?;
        self.variables = crate::environment::parse(&text)?;
        Ok(())
    }

    /// Tells the user something.
    pub(crate) fn message(&self, level: Level, element: &str, text: impl Into<String>) {
        self.tell(Event::Message { level, element: element.to_owned(), text: printable(&text.into()) });
    }
}

/// Evaluating variables is quick; a file that waits for something is a mistake.
const ENVIRONMENT_TIMEOUT: Duration = Duration::from_secs(60);

/// The argument vector for a script: itself, or bash for one that does not name its interpreter (CONTRACT.md 1.4).
fn with_interpreter(file: &Path, seen: &str) -> Result<Vec<String>> {
    let mut start = [0; 4];
    let context = || format!("reading {}", file.display());
    let count = std::fs::File::open(file).with_context(context)?.read(&mut start).with_context(context)?;
    let direct = start[..count].starts_with(b"#!") || start[..count].starts_with(b"\x7fELF");
    Ok(match direct {
        true => vec![seen.to_owned()],
        false => vec!["/bin/bash".to_owned(), seen.to_owned()],
    })
}
