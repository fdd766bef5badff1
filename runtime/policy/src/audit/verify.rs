//! Whether a log is whole: every line follows from the one before, and the last says that it is. Called by `dibw audit` and by
//! `dibw policy test` and `suggest`, which believe no other log.

use std::fmt;

use super::{END, Line, Summary, VERSION, first_link, sha256};

/// Where a chain is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainFault {
    /// The line, from 1.
    pub line: usize,
    /// In one sentence.
    pub why: String,
}

impl fmt::Display for ChainFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

impl std::error::Error for ChainFault {}

/// Checks every link of a log, and counts what it holds. A log of a site holds the chains of its builds one after the other; that a whole
/// chain is missing can't be seen.
///
/// # Errors
/// The first line that does not follow from the one before it: edited, removed, added, out of order, or missing at the end.
pub fn verify(text: &str) -> Result<Summary, ChainFault> {
    let mut summary = Summary::default();
    let mut prev = first_link();
    let mut build: Option<String> = None;
    let mut ended = false;
    let mut last = 0;
    let mut first = 0;
    for (index, raw) in text.split_terminator('\n').enumerate() {
        last = index + 1;
        let fault = |why: &str| ChainFault { line: index + 1, why: why.to_owned() };
        let line: Line =
            serde_json::from_str(raw).map_err(|error| fault(&format!("not a record: {error}")))?;
        if ended {
            if line.seq != 0 || line.prev != first_link() {
                return Err(fault("it follows the line that says the chain is at its end"));
            }
            (prev, build, first) = (first_link(), None, index);
        }
        let number = index - first;
        if line.v != VERSION {
            return Err(fault(&format!("version {} of the format is not known", line.v)));
        }
        if line.prev != prev {
            return Err(fault(
                "it does not follow from the line before: one of the two was changed, or lines between were removed",
            ));
        }
        if line.seq != number as u64 {
            return Err(fault(&format!("its number is {}, not {number}", line.seq)));
        }
        if *build.get_or_insert_with(|| line.build.clone()) != line.build {
            return Err(fault("it belongs to another build"));
        }
        prev = sha256(raw.as_bytes());
        ended = line.decision == END;
        if ended && line.subject != format!("{number} records") {
            return Err(fault("it counts other records than there are"));
        }
        if !ended {
            summary.add(line);
        }
    }
    if !ended {
        let why = "the log has no end: lines were cut off, or the build did not come to its end";
        return Err(ChainFault { line: last.max(1), why: why.to_owned() });
    }
    if !text.ends_with('\n') {
        return Err(ChainFault { line: last, why: "its line feed is missing".to_owned() });
    }
    Ok(summary)
}

#[cfg(test)]
mod tests {
    use super::super::{Chain, Circumstance, Record};
    use super::*;
    use crate::policy::Mode;

    fn record(subject: &str, decision: &'static str) -> Record {
        Record {
            element: "motd".to_owned(),
            digest: Some("ab".repeat(32)),
            phase: "install".to_owned(),
            capability: "target.write".to_owned(),
            subject: subject.to_owned(),
            decision,
            rule: "needs target.write /etc/motd".to_owned(),
            mode: Mode::Enforce,
        }
    }

    fn log() -> Vec<String> {
        let mut chain = Chain::new("build-1", "built-in");
        let when = Circumstance { t: "2026-11-21T18:30:09Z".to_owned(), dur_ms: Some(1), bytes: None };
        let mut lines: Vec<String> = [("/etc/motd", "allow"), ("/etc/a", "deny"), ("/etc/b", "would-deny")]
            .map(|(subject, decision)| chain.line(&record(subject, decision), &when))
            .into();
        lines.push(chain.end("2026-11-21T18:30:10Z", Mode::Enforce));
        lines
    }

    fn told(lines: &[String]) -> Result<Summary, (usize, String)> {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        verify(&text).map_err(|fault| (fault.line, fault.why))
    }

    #[test]
    fn a_whole_log() {
        let lines = log();
        assert!(
            lines[0]
                .starts_with(r#"{"v":1,"t":"2026-11-21T18:30:09Z","build":"build-1","seq":0,"prev":"0000"#)
        );
        assert!(lines[0].contains(r#""cap":"target.write","subject":"/etc/motd","decision":"allow""#));
        let summary = told(&lines).unwrap();
        assert_eq!((summary.records, summary.denied.len()), (3, 2));
        let motd = &summary.elements["motd"];
        assert_eq!((motd.allowed, motd.denied, motd.would_deny, motd.malformed), (1, 1, 1, 0));
    }

    #[test]
    fn every_change_is_seen() {
        let whole = log();
        let changed = |change: &dyn Fn(&mut Vec<String>)| {
            let mut lines = whole.clone();
            change(&mut lines);
            told(&lines).unwrap_err()
        };
        for index in 0..whole.len() - 1 {
            assert_eq!(changed(&|l| drop(l.remove(index))).0, index + 1, "removed {index}");
            assert_eq!(
                changed(&|l| l[index] = l[index].replace("motd\"", "mode\"")).0,
                index + 2,
                "edited {index}"
            );
            assert_eq!(changed(&|l| l.insert(index, l[index].clone())).0, index + 2, "doubled {index}");
        }
        assert_eq!(changed(&|l| l.swap(0, 1)).0, 1);
        assert_eq!(changed(&|l| l.swap(1, 2)).0, 2);
        assert!(changed(&|l| drop(l.pop())).1.contains("no end"));
        assert!(changed(&|l| l.truncate(1)).1.contains("no end"));
        assert!(changed(&|l| l.clear()).1.contains("no end"));
        assert!(changed(&|l| l.push(l[3].clone())).1.contains("at its end"));
        assert!(changed(&|l| l[1] = "{}".to_owned()).1.starts_with("not a record"));
        let end =
            changed(&|l| l[3] = l[3].replace("3 records", "4 records").replace("\"seq\":3", "\"seq\":4"));
        assert_eq!(end, (4, "its number is 4, not 3".to_owned()));
        let other = changed(&|l| l[0] = l[0].replace("\"v\":1", "\"v\":2"));
        assert_eq!(other, (1, "version 2 of the format is not known".to_owned()));
        let text = whole.join("\n");
        assert_eq!(verify(&text).unwrap_err().why, "its line feed is missing");
    }

    #[test]
    fn a_log_of_a_site_has_chain_after_chain() {
        let twice = [log(), log()].concat();
        assert_eq!(told(&twice).unwrap().records, 6);
        let mut cut = twice.clone();
        cut.remove(4);
        assert_eq!(told(&cut).unwrap_err().0, 5);
    }

    #[test]
    fn records_of_two_builds_are_not_one_chain() {
        let mut chain = Chain::new("a", "built-in");
        let when = Circumstance::default();
        let first = chain.line(&record("/x", "allow"), &when);
        let mut lines = vec![first];
        chain.build = "b".to_owned();
        lines.push(chain.end("", Mode::Enforce));
        assert_eq!(told(&lines).unwrap_err(), (2, "it belongs to another build".to_owned()));
    }
}
