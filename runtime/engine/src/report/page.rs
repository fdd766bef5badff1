//! The page: a report as one HTML file that needs nothing else. Tables and the timeline are made here and need no script; the script adds the
//! treemap, filters and sorting. A policy in the page lets the browser run that script alone and load nothing.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::time::Duration;

use super::data::{Bytes, Report, Share, StepRecord};
use super::html::{Cell, count, embedded, escape, fill, markup, number, size, table, text, time};
use crate::events::{Cached, Level};

const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// Units across the timeline, and the least that a bar takes so that it can be seen.
const ACROSS: f64 = 1000.0;
const NARROWEST: f64 = 2.0;

/// Bars of the overview that are too narrow to be seen are left out there.
const LEAST_OF_STRIP: f64 = 0.5;

/// The page of a report.
pub(super) fn page(report: &Report) -> String {
    let json = serde_json::to_string(report).expect("a report has only text keys and finite numbers");
    fill(
        PAGE,
        &[
            ("TITLE", &escape(&report.name)),
            ("FACTS", &facts(report)),
            ("TILES", &tiles(report)),
            ("ARTIFACTS", &artifacts(report)),
            ("STRIP", &strip(report)),
            ("STEPS_SUMMARY", &format!("{}, in order", count(report.steps.len(), "step"))),
            ("STEPS", &steps(report)),
            ("BYTES", &bytes(report.bytes.as_ref())),
            ("PACKAGES", &packages(report)),
            ("CAPABILITIES", &capabilities(report)),
            ("WARNINGS", &warnings(report)),
            ("FOOTER", &format!("dibw {}, plan {}", escape(&report.dibw), escape(&report.plan))),
            ("DATA", &embedded(&json)),
            ("STYLE", STYLE),
            ("SCRIPT", SCRIPT),
            ("SCRIPT_DIGEST", &BASE64_STANDARD.encode(Sha256::digest(SCRIPT))),
        ],
    )
}

fn facts(report: &Report) -> String {
    let began = report.began.replace('T', " ").replace('Z', " UTC");
    let facts = [
        format!("built {began}"),
        report.arch.clone(),
        count(report.elements.len(), "element") + ": " + &report.elements.join(" "),
    ];
    facts.iter().map(|fact| format!("<span>{}</span>", escape(fact))).collect()
}

fn tiles(report: &Report) -> String {
    let hits = hits(&report.steps);
    let denied: usize = report.capabilities.iter().map(|record| record.denied).sum();
    let largest = report.artifacts.iter().max_by_key(|artifact| artifact.bytes);
    let warned = report.warnings.len() + report.more_warnings;
    let mut tiles = vec![
        ("", "Build time", time(report.took), count(report.steps.len(), "step")),
        match hits {
            0 => ("", "Saved by the cache", "nothing".to_owned(), "no layer was used".to_owned()),
            hits => ("good", "Saved by the cache", time(report.saved()), count(hits, "cached step")),
        },
    ];
    tiles.extend(
        report.bytes.as_ref().map(|bytes| {
            ("", "In the image", size(bytes.total), format!("{} inodes", grouped(bytes.inodes)))
        }),
    );
    tiles.extend(largest.map(|largest| {
        let artifacts = match report.artifacts.len() {
            1 => largest.name.clone(),
            others => format!("{}, the largest of {others}", largest.name),
        };
        ("", "Artifact", size(largest.bytes), artifacts)
    }));
    tiles.push(("", "Packages", grouped(report.packages.len() as u64), String::new()));
    tiles.push((
        if denied > 0 { "bad" } else { "" },
        "Refused",
        denied.to_string(),
        "of what elements asked for".to_owned(),
    ));
    tiles.push((if warned > 0 { "mild" } else { "" }, "Warnings", warned.to_string(), String::new()));
    let tile = |(class, label, value, more): (&str, &str, String, String)| {
        format!(
            "<div class=\"{class}\"><dt>{label}</dt><dd>{} <small>{}</small></dd></div>",
            escape(&value),
            escape(&more)
        )
    };
    tiles.into_iter().map(tile).collect()
}

fn hits(steps: &[StepRecord]) -> usize {
    steps.iter().filter(|step| matches!(step.cache, Cached::Hit { .. })).count()
}

fn artifacts(report: &Report) -> String {
    let rows = report.artifacts.iter().map(|artifact| {
        vec![
            text(&artifact.name),
            number(&size(artifact.bytes), artifact.bytes as f64),
            number(&grouped(artifact.bytes), artifact.bytes as f64),
            text(artifact.sha256.as_deref().unwrap_or("not taken")),
        ]
    });
    let columns = [("File", "code"), ("Size", "number"), ("Bytes", "number"), ("SHA-256", "digest")];
    scrolling("", &table("", &columns, rows.collect()))
}

/// The whole build as one bar, and what the phases took.
fn strip(report: &Report) -> String {
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

fn steps(report: &Report) -> String {
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
    scrolling("", &table("sorts", &columns, rows.collect()))
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

fn bytes(bytes: Option<&Bytes>) -> String {
    let Some(bytes) = bytes else {
        return empty("This could not be found out; a warning says why.");
    };
    let shares = |heading: &str, shares: &[Share]| {
        let rows = shares.iter().map(|share| {
            vec![
                text(&share.name),
                number(&size(share.bytes), share.bytes as f64),
                text(&format!("{:.1} %", 100.0 * share.bytes as f64 / bytes.total.max(1) as f64)),
            ]
        });
        let columns = [(heading, "code"), ("Size", "number"), ("Share", "number")];
        scrolling("", &table("", &columns, rows.collect()))
    };
    format!("<noscript>{}</noscript>", shares("Element", &bytes.elements))
}

fn packages(report: &Report) -> String {
    if report.packages.is_empty() {
        return empty("No package manager that is known has installed any.");
    }
    let shares = report.bytes.iter().flat_map(|bytes| &bytes.packages);
    let sizes: BTreeMap<&str, u64> = shares.map(|share| (share.name.as_str(), share.bytes)).collect();
    let rows = report.packages.iter().map(|package| {
        let bytes = sizes.get(package.name.as_str()).copied();
        vec![
            text(&package.name),
            text(&package.version),
            text(&package.architecture),
            number(&bytes.map(size).unwrap_or_default(), bytes.unwrap_or_default() as f64),
        ]
    });
    let columns = [("Package", "code"), ("Version", "code"), ("Architecture", ""), ("Size", "number")];
    let table = scrolling("tall", &table("sorts", &columns, rows.collect()));
    format!("<div data-filter=\"packages\">{table}</div>")
}

fn capabilities(report: &Report) -> String {
    if report.capabilities.is_empty() {
        return empty("No element asked for anything.");
    }
    let rows = report.capabilities.iter().map(|record| {
        let subjects = record.subjects.iter().map(|subject| escape(subject)).collect::<Vec<_>>().join("<br>");
        let more = if record.more_subjects { "<br>..." } else { "" };
        let denied = match record.denied {
            0 => text("0"),
            denied => markup(format!("<span class=\"badge error\">{denied}</span>")),
        };
        vec![
            text(if record.element.is_empty() { "(dibw itself)" } else { &record.element }),
            text(&record.capability),
            number(&record.allowed.to_string(), record.allowed as f64),
            denied.worth(record.denied as f64),
            markup(subjects + more),
        ]
    });
    let columns = [
        ("Element", ""),
        ("Capability", "code whole"),
        ("Allowed", "number"),
        ("Refused", "number"),
        ("For what", "code"),
    ];
    scrolling("", &table("sorts", &columns, rows.collect()))
}

fn warnings(report: &Report) -> String {
    if report.warnings.is_empty() {
        return empty("There were none.");
    }
    let rows = report.warnings.iter().map(|warning| {
        let badge = match warning.level {
            Level::Error => "<span class=\"badge error\">error</span>",
            Level::Debug | Level::Info | Level::Warn => "<span class=\"badge warn\">warning</span>",
        };
        let step = report.steps.iter().find(|step| step.number == warning.step);
        let step = step.map(|step| format!("{} {}", step.number, step.title)).unwrap_or_default();
        vec![markup(badge.to_owned()), text(&warning.element), text(&step), text(&warning.text)]
    });
    let columns = [("", "whole"), ("Element", ""), ("Step", ""), ("Message", "")];
    let table = scrolling("", &table("", &columns, rows.collect()));
    match report.more_warnings {
        0 => table,
        more => table + &empty(&format!("And {more} more.")),
    }
}

fn scrolling(class: &str, table: &str) -> String {
    format!("<div class=\"scroll {class}\">{table}</div>")
}

fn empty(text: &str) -> String {
    format!("<p class=\"empty\">{}</p>", escape(text))
}

/// `1,234,567`
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}
