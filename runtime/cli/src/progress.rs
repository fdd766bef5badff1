//! What a build's events look like: one line per step with a progress bar on a terminal, plain lines elsewhere, JSON for machines.
//! Everything goes to standard error; standard output is for data.

use std::cell::RefCell;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use dibw_engine::{Cached, Event, Events, Level};
use indicatif::{ProgressBar, ProgressStyle};

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One line per step with a progress bar on a terminal, `plain` elsewhere
    Auto,
    /// One line per step, and what hooks print
    Plain,
    /// One JSON object per line
    Json,
}

/// Gives the listener for a format.
pub fn listener(format: LogFormat, verbose: bool) -> Box<dyn Events> {
    match format {
        LogFormat::Json => Box::new(Json),
        LogFormat::Auto if std::io::stderr().is_terminal() && !verbose => Box::new(Bar::new()),
        LogFormat::Auto | LogFormat::Plain => Box::new(Plain::new(verbose)),
    }
}

/// One JSON object per line.
struct Json;

impl Events for Json {
    fn tell(&self, event: Event) {
        let line = serde_json::to_string(&event).expect("events are plain data");
        say(&line);
    }
}

/// A line when a step begins is not needed: it is written when the step is done, with its time.
struct Plain {
    verbose: bool,
    steps: RefCell<Steps>,
}

/// The step that runs.
#[derive(Default)]
struct Steps {
    total: usize,
    title: String,
}

impl Plain {
    fn new(verbose: bool) -> Self {
        Self { verbose, steps: RefCell::default() }
    }
}

impl Events for Plain {
    fn tell(&self, event: Event) {
        let mut steps = self.steps.borrow_mut();
        match event {
            Event::Started { plan, steps: total } => {
                steps.total = total;
                say(&format!("plan {}, {total} steps", &plan[..plan.len().min(12)]));
            }
            Event::Step { phase, title, .. } => {
                steps.title = titled(&phase, &title);
                if self.verbose {
                    say(&format!("      {}", steps.title));
                }
            }
            Event::Output { line } if self.verbose => say(&format!("      | {line}")),
            Event::StepDone { number, took, cache } => say(&done(number, &steps, took, &cache)),
            other => rest(&other, &say),
        }
    }
}

/// A bar with the current step; finished steps scroll by above it.
struct Bar {
    bar: ProgressBar,
    steps: RefCell<Steps>,
    began: Instant,
}

impl Bar {
    fn new() -> Self {
        let bar = ProgressBar::new(0);
        let style =
            ProgressStyle::with_template("{spinner} [{elapsed_precise}] {bar:24} {pos}/{len} {wide_msg}");
        bar.set_style(style.expect("the template is well formed"));
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, steps: RefCell::default(), began: Instant::now() }
    }
}

impl Events for Bar {
    fn tell(&self, event: Event) {
        let mut steps = self.steps.borrow_mut();
        match event {
            Event::Started { steps: total, .. } => {
                steps.total = total;
                self.bar.set_length(total as u64);
            }
            Event::Step { number, phase, title, .. } => {
                steps.title = titled(&phase, &title);
                self.bar.set_position(number as u64 - 1);
                self.bar.set_message(steps.title.clone());
            }
            Event::Output { line } => self.bar.set_message(format!("{}: {line}", steps.title)),
            Event::StepDone { number, took, cache } => {
                self.bar.println(done(number, &steps, took, &cache));
            }
            Event::Finished { .. } => {
                self.bar.finish_and_clear();
                say(&format!("done in {}", elapsed(self.began.elapsed())));
            }
            other => rest(&other, &|line| self.bar.println(line)),
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// What both human formats say alike.
fn rest(event: &Event, say: &dyn Fn(&str)) {
    match event {
        Event::Message { level, element, text } if *level >= Level::Info => {
            let mark = match level {
                Level::Debug | Level::Info => "     ",
                Level::Warn => "warn:",
                Level::Error => "error:",
            };
            let from = if element.is_empty() { String::new() } else { format!("{element}: ") };
            say(&format!("{mark} {from}{text}"));
        }
        Event::Artifact { path, bytes, sha256 } => {
            let short =
                sha256.as_ref().map(|sha256| format!(", sha256 {}...", &sha256[..sha256.len().min(12)]));
            let mib = *bytes as f64 / 1048576.0;
            say(&format!("      {} ({mib:.1} MiB{})", path.display(), short.unwrap_or_default()));
        }
        Event::Finished { took } => say(&format!("done in {}", elapsed(*took))),
        Event::Message { .. }
        | Event::Started { .. }
        | Event::Step { .. }
        | Event::StepDone { .. }
        | Event::Output { .. } => {}
    }
}

fn titled(phase: &str, title: &str) -> String {
    match phase {
        "" => title.to_owned(),
        phase => format!("{phase}: {title}"),
    }
}

fn done(number: usize, steps: &Steps, took: Duration, cache: &Cached) -> String {
    let width = steps.total.to_string().len();
    let time = match cache {
        Cached::Hit { .. } => "cached".to_owned(),
        Cached::No | Cached::Miss { .. } => elapsed(took),
    };
    format!("[{number:>width$}/{}] {:<72} {time:>7}", steps.total, steps.title)
}

fn elapsed(took: Duration) -> String {
    match took.as_secs() {
        seconds @ 60.. => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{:.1}s", took.as_secs_f64()),
    }
}

/// Writes a line to standard error. That it is closed must not end the build.
pub fn say(line: &str) {
    if let Err(error) = writeln!(std::io::stderr(), "{line}") {
        tracing::debug!("standard error: {error}");
    }
}
