//! A listener that keeps what a build tells of its steps and warnings, and passes everything on. Callers: the engine for its report, the
//! command line for `--timings`.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::data::{StepRecord, Warning};
use crate::events::{Cached, Event, Events, Level};

/// Most warnings that are kept, and characters of each.
const MOST_WARNINGS: usize = 500;
const LONGEST_WARNING: usize = 1000;

/// Keeps steps and warnings.
pub struct Recorder {
    listener: Rc<dyn Events>,
    began: Instant,
    kept: RefCell<Kept>,
}

/// What a recorder has heard.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    /// In the order they ended.
    pub steps: Vec<StepRecord>,
    /// In order.
    pub warnings: Vec<Warning>,
    /// Warnings beyond those that are kept.
    pub more_warnings: usize,
    /// The step that runs.
    running: Option<StepRecord>,
}

impl Recorder {
    /// Starts the clock.
    pub fn new(listener: Rc<dyn Events>) -> Self {
        Self { listener, began: Instant::now(), kept: RefCell::default() }
    }

    /// What was heard until now.
    pub fn kept(&self) -> Kept {
        self.kept.borrow().clone()
    }

    /// Time since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

impl Events for Recorder {
    fn tell(&self, event: Event) {
        self.kept.borrow_mut().take(&event, self.began.elapsed());
        self.listener.tell(event);
    }
}

impl Kept {
    fn take(&mut self, event: &Event, now: Duration) {
        match event {
            Event::Step { number, phase, element, title } => {
                self.running = Some(StepRecord {
                    number: *number,
                    phase: phase.clone(),
                    element: element.clone(),
                    title: title.clone(),
                    start: now,
                    took: Duration::ZERO,
                    cache: Cached::No,
                });
            }
            Event::StepDone { took, cache, .. } => {
                let done = self.running.take();
                self.steps.extend(done.map(|step| StepRecord { took: *took, cache: cache.clone(), ..step }));
            }
            Event::Message { level, element, text } if *level >= Level::Warn => {
                if self.warnings.len() == MOST_WARNINGS {
                    self.more_warnings += 1;
                    return;
                }
                self.warnings.push(Warning {
                    level: *level,
                    element: element.clone(),
                    step: self.running.as_ref().map_or(0, |step| step.number),
                    text: text.chars().take(LONGEST_WARNING).collect(),
                });
            }
            Event::Message { .. }
            | Event::Started { .. }
            | Event::Output { .. }
            | Event::Artifact { .. }
            | Event::Finished { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_and_warnings_are_kept_within_bounds() {
        let mut kept = Kept::default();
        let warning = |text: &str| Event::Message {
            level: Level::Warn,
            element: "motd".into(),
            text: text.repeat(LONGEST_WARNING),
        };
        let step =
            Event::Step { number: 7, phase: "root".into(), element: "os".into(), title: "10-os".into() };
        kept.take(&step, Duration::from_secs(3));
        (0..MOST_WARNINGS + 2).for_each(|_| kept.take(&warning("ab"), Duration::ZERO));
        let cache = Cached::Hit { saved: Duration::from_secs(9) };
        kept.take(&Event::StepDone { number: 7, took: Duration::from_secs(2), cache }, Duration::ZERO);
        assert_eq!((kept.warnings.len(), kept.more_warnings), (MOST_WARNINGS, 2));
        assert_eq!((kept.warnings[0].step, kept.warnings[0].text.len()), (7, LONGEST_WARNING));
        let [step] = kept.steps.as_slice() else { panic!("one step") };
        assert_eq!(
            (step.number, step.start, step.saved()),
            (7, Duration::from_secs(3), Duration::from_secs(7))
        );
    }
}
