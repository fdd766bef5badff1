//! The page: a report as one HTML file that needs nothing else. Tables and the timeline are made here and need no script; the script adds the
//! treemap, filters and sorting. A policy in the page lets the browser run that script alone and load nothing.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};

use super::data::{Bytes, Node, Report, StepRecord};
use super::html::{count, embedded, escape, fill, markup, number, size, table, text, time};
use super::timeline;
use crate::events::{Cached, Level};

const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

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
            ("STRIP", &timeline::strip(report)),
            ("STEPS_SUMMARY", &format!("{}, in order", count(report.steps.len(), "step"))),
            ("STEPS", &scrolling("", &timeline::steps(report))),
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
    tiles.push((
        "",
        "Packages",
        grouped((report.packages.len() + report.more_packages) as u64),
        String::new(),
    ));
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

fn bytes(bytes: Option<&Bytes>) -> String {
    let Some(bytes) = bytes else {
        return empty(
            "Not known: no disk was looked at since the outputs came from the cache, or a warning says why.",
        );
    };
    let shares = |heading: &str, shares: &[Node]| {
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
    let more = match report.more_packages {
        0 => String::new(),
        more => empty(&format!("And {more} more.")),
    };
    format!("<div data-filter=\"packages\">{table}{more}</div>")
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::data::{CapabilityRecord, PackageRecord, Warning};
    use super::*;

    const NAME: &str = "</script><script>alert(1)</script>\"' onmouseover=x";

    fn step(number: usize, phase: &str, start: u64, took: u64, cache: Cached) -> StepRecord {
        StepRecord {
            number,
            phase: phase.to_owned(),
            element: NAME.to_owned(),
            title: format!("10-{NAME}"),
            start: Duration::from_secs(start),
            took: Duration::from_secs(took),
            cache,
        }
    }

    fn report() -> Report {
        Report {
            name: NAME.to_owned(),
            began: "2026-11-21T18:30:09Z".to_owned(),
            took: Duration::from_secs(100),
            steps: vec![
                step(1, "root", 0, 1, Cached::Hit { saved: Duration::from_secs(61) }),
                step(2, "install", 1, 99, Cached::Miss { reason: NAME.to_owned() }),
                step(3, NAME, 100, 0, Cached::No),
            ],
            packages: vec![PackageRecord {
                architecture: NAME.to_owned(),
                name: NAME.to_owned(),
                version: NAME.to_owned(),
            }],
            capabilities: vec![CapabilityRecord {
                element: NAME.to_owned(),
                capability: "target.write".to_owned(),
                allowed: 1,
                denied: 2,
                subjects: vec![NAME.to_owned()],
                more_subjects: true,
            }],
            warnings: vec![Warning {
                level: Level::Warn,
                element: String::new(),
                step: 2,
                text: NAME.to_owned(),
            }],
            bytes: Some(Bytes {
                total: 4096,
                inodes: 1,
                elements: vec![Node { name: NAME.to_owned(), bytes: 4096, children: Vec::new() }],
                ..Bytes::default()
            }),
            ..Report::default()
        }
    }

    #[test]
    fn names_stay_text_wherever_they_are_shown() {
        let page = page(&report());
        assert_eq!((page.matches("<script").count(), page.matches("</script").count()), (2, 2));
        let (shown, _) = page.split_once("<script type=").expect("the data come after what is shown");
        assert!(!shown.contains("' onmouseover") && !shown.contains("\" onmouseover"), "an attribute");
        assert!(!page.contains("{{"), "a place of the template was not filled");
    }

    #[test]
    fn the_cache_is_told_of_step_by_step_and_in_all() {
        let page = page(&report());
        for wanted in [
            "<dt>Saved by the cache</dt><dd>1m 00s <small>1 cached step</small>",
            "<span class=\"badge hit\">cached</span><span class=\"why\">took 1m 01s then</span>",
            "<span class=\"badge miss\">ran</span>",
            "<dt>Refused</dt><dd>2 ",
            "<rect class=\"bar cached phase-root\" x=\"0.00\" y=\"0\" width=\"10.00\"",
            // It would begin where nothing can be seen.
            "<rect class=\"bar  phase-none\" x=\"998.00\" y=\"0\" width=\"2.00\"",
        ] {
            assert!(page.contains(wanted), "{wanted}: {page}");
        }
    }

    #[test]
    fn digits_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
