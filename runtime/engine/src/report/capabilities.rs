//! What elements asked for, counted from the audit log: by element and capability. Knows nothing of what a capability means.

use std::collections::BTreeMap;

use dibw_policy::audit::Line;

use super::data::CapabilityRecord;

/// Different things that a capability was asked for, of which the report tells, and characters of each.
const MOST_SUBJECTS: usize = 5;
const LONGEST_SUBJECT: usize = 200;

/// Counts the records of a log.
pub(super) fn of_log(log: &str) -> Vec<CapabilityRecord> {
    let mut records: BTreeMap<(String, String), CapabilityRecord> = BTreeMap::new();
    // The log is ours; its last line is no decision.
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    for line in lines.filter(|line| line.decision != "end") {
        let key = (line.element.clone(), line.cap.clone());
        let record = records.entry(key).or_insert_with(|| CapabilityRecord {
            element: line.element.clone(),
            capability: line.cap.clone(),
            allowed: 0,
            denied: 0,
            subjects: Vec::new(),
            more_subjects: false,
        });
        match line.decision.as_str() {
            "allow" => record.allowed += 1,
            _ => record.denied += 1,
        }
        let subject: String = line.subject.chars().take(LONGEST_SUBJECT).collect();
        if !record.subjects.contains(&subject) {
            match record.subjects.len() {
                MOST_SUBJECTS => record.more_subjects = true,
                _ => record.subjects.push(subject),
            }
        }
    }
    records.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dibw_policy::{Chain, Circumstance, Mode, Record};

    #[test]
    fn decisions_are_counted_by_element_and_capability() {
        let mut chain = Chain::new("build", "built-in");
        let mut log = String::new();
        let ask = |subject: String, decision| Record {
            element: "motd".to_owned(),
            digest: None,
            phase: "install".to_owned(),
            capability: "target.write".to_owned(),
            subject,
            decision,
            rule: "a rule".to_owned(),
            mode: Mode::Enforce,
        };
        for number in 0..8 {
            log += &chain.line(&ask(format!("/etc/{number}"), "allow"), &Circumstance::default());
            log.push('\n');
        }
        log += &chain.line(&ask("/etc/shadow".to_owned(), "deny"), &Circumstance::default());
        log.push('\n');
        log += &chain.end("2026-11-21T18:30:09Z", Mode::Enforce);
        let records = of_log(&log);
        let [record] = records.as_slice() else { panic!("{records:?}") };
        assert_eq!((record.allowed, record.denied, record.subjects.len()), (8, 1, MOST_SUBJECTS));
        assert!(record.more_subjects);
    }
}
