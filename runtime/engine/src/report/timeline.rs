//! The time of a build as markup: one bar for all of it, and a table with a bar for each step. Knows nothing of the rest of the page.

use std::collections::BTreeMap;
use std::time::Duration;

use super::data::{Report, StepRecord};
use super::html::{Cell, escape, markup, number, table, text, time};
use crate::events::Cached;

/// Units across the timeline, and the least that a bar takes so that it can be seen.
const ACROSS: f64 = 1000.0;
const NARROWEST: f64 = 2.0;

/// Bars of the overview that are too narrow to be seen are left out there.
const LEAST_OF_STRIP: f64 = 0.5;

/// The whole build as one bar, and what the phases took.
pub(super) fn strip(report: &Report) -> String {
    let mut phases: BTreeMap<&str, Duration> = BTreeMap::new();
    let mut order: Vec<&str> = Vec::new();
    let mut bars = String::new();
    for step in &report.steps {
        *phases.entry(step.phase.as_str()).or_default() += step.took;
        if !order.contains(&step.phase.as_str()) {
            order.push(&step.phase);
        }
        let (x, width) = place(report, step);
        if width >= LEAST_OF_STRIP {
            bars.push_str(&bar(step, x, width, ""));
        }
    }
    let legend = order.iter().map(|phase| {
        let took = phases.get(phase).copied().unwrap_or_default();
        format!(
            "<li><span class=\"dot {}\"></span>{} <b>{}</b></li>",
            class(phase),
            shown_phase(phase),
            time(took)
        )
    });
    format!(
        "<svg class=\"strip\" role=\"img\" aria-label=\"Steps of the build by time\" viewBox=\"0 0 {ACROSS} 10\" \
         preserveAspectRatio=\"none\">{bars}</svg>\n<ul class=\"legend\">{}</ul>",
        legend.collect::<String>()
    )
}

/// All steps as a table, each with its bar in time.
pub(super) fn steps(report: &Report) -> String {
    let rows = report.steps.iter().map(|step| {
        let (x, width) = place(report, step);
        // The last bar may not begin where it could not be seen.
        let width = width.max(NARROWEST);
        let drawn = bar(step, x.min(ACROSS - width), width, "bar");
        let line = format!(
            "<svg class=\"gantt\" aria-hidden=\"true\" viewBox=\"0 0 {ACROSS} 10\" preserveAspectRatio=\"none\">{drawn}</svg>"
        );
        let phase = format!("<span class=\"dot {}\"></span>{}", class(&step.phase), shown_phase(&step.phase));
        vec![
            number(&step.number.to_string(), step.number as f64),
            markup(phase),
            text(&step.element),
            text(&step.title),
            markup(line),
            number(&time(step.took), step.took.as_secs_f64()),
            cache(step),
        ]
    });
    let columns = [
        ("#", "number"),
        ("Phase", "whole"),
        ("Element", ""),
        ("Step", "code"),
        ("", "line"),
        ("Time", "number"),
        ("Cache", ""),
    ];
    table("sorts", &columns, rows.collect())
}

/// Where a step's bar begins, and how wide it is.
fn place(report: &Report, step: &StepRecord) -> (f64, f64) {
    let all = report.took.as_secs_f64().max(0.001);
    (step.start.as_secs_f64() / all * ACROSS, step.took.as_secs_f64() / all * ACROSS)
}

fn bar(step: &StepRecord, x: f64, width: f64, kind: &str) -> String {
    let cached = match step.cache {
        Cached::Hit { .. } => "cached",
        Cached::No | Cached::Miss { .. } => "",
    };
    let titled = match step.phase.as_str() {
        "" => step.title.clone(),
        phase => format!("{phase}: {}", step.title),
    };
    format!(
        "<rect class=\"{kind} {cached} {}\" x=\"{x:.2}\" y=\"0\" width=\"{width:.2}\" height=\"10\"><title>{}, {}</title></rect>",
        class(&step.phase),
        escape(&titled),
        time(step.took)
    )
}

fn class(phase: &str) -> String {
    // Phases are ours, but this is a class in markup.
    let known = dibw_plan::Phase::ALL.iter().find(|known| known.name() == phase);
    format!("phase-{}", known.map_or("none", |known| known.name()))
}

fn shown_phase(phase: &str) -> String {
    if phase.is_empty() { "dibw itself".to_owned() } else { escape(phase) }
}

fn cache(step: &StepRecord) -> Cell {
    let badge = |class: &str, word: &str, why: &str| {
        markup(format!(
            "<span class=\"badge {class}\">{word}</span><span class=\"why\">{}</span>",
            escape(why)
        ))
    };
    match &step.cache {
        Cached::No => text(""),
        Cached::Hit { saved } => badge("hit", "cached", &format!("took {} then", time(*saved))),
        Cached::Miss { reason } => badge("miss", "ran", reason),
    }
}
