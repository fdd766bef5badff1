//! What the last build of an image said of its steps, and from it the reason why there is no layer for a step now.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Layers;
use super::inputs::Inputs;
use crate::events::Cached;

/// What the last build of an image said of its steps.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct LastBuild {
    /// The image.
    pub image: PathBuf,
    /// Seconds since 1970 when it ended.
    pub ended: u64,
    /// In their order.
    pub steps: Vec<LastStep>,
}

/// One of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LastStep {
    /// Phase and title.
    pub title: String,
    /// What the cache said.
    pub cached: Cached,
    /// Seconds that it took.
    pub took: f64,
    /// What its layer is made from.
    pub inputs: Inputs,
    /// Why its layer was not kept, where it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_kept: Option<String>,
}

impl Layers {
    /// Notes what the cache said of a step.
    pub(super) fn note(&mut self, title: &str, cached: Cached, inputs: Inputs) {
        let title = title.to_owned();
        self.now.steps.push(LastStep { title, cached, took: 0.0, inputs, not_kept: None });
    }

    /// Notes how long the step took that was noted last.
    pub(crate) fn note_time(&mut self, took: Duration) {
        if let Some(step) = self.now.steps.last_mut() {
            step.took = took.as_secs_f64();
        }
    }

    /// Notes why the layer of the step was not kept that was noted last.
    pub(super) fn note_not_kept(&mut self, why: Option<String>) {
        if let Some(step) = self.now.steps.last_mut() {
            step.not_kept = why;
        }
    }

    /// What the last build knew of a step.
    pub(super) fn known(&self, title: &str) -> Option<&LastStep> {
        self.last.steps.iter().find(|step| step.title == title)
    }

    /// Why there is no layer for these inputs.
    pub(super) fn reason(&self, title: &str, inputs: &Inputs) -> String {
        let Some(known) = self.known(title) else { return "not built before".to_owned() };
        match (inputs.difference(&known.inputs), &self.first_run) {
            (Some(changed), _) => changed,
            (None, Some(first)) => format!("after {first}, which ran"),
            (None, None) if !inputs.same_before(&known.inputs) => {
                "what hooks on the host left changed".to_owned()
            }
            (None, None) => match &known.not_kept {
                Some(why) => format!("its layer was not kept: {why}"),
                None => "its layer is no longer in the cache".to_owned(),
            },
        }
    }
}
