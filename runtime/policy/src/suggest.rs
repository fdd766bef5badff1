//! `dibw policy suggest`: the narrowest grants that cover what a recorded build asked for, as policy YAML.
//!
//! What needs a second look is written as a comment: places that run as root, what exposes the machine, and what was refused by rules that
//! no grant helps against. It never proposes a level for shell hooks.
//! Must not know: files. Callers: `dibw policy suggest`.

use std::collections::BTreeMap;

use crate::audit::{Line, Summary};
use crate::capability::Capability;
use crate::identity::{Identity, quoted, quoted_list};
use crate::need::Need;
use crate::policy::RISK_LIMIT;
use crate::question::Question;
use crate::subject::escape;

/// What one element is proposed.
#[derive(Default)]
struct Proposal {
    digest: String,
    needs: Vec<Need>,
    refused: Vec<String>,
}

/// A `grants` section for everything that a log holds, by risk.
pub fn suggest(summary: &Summary) -> String {
    let mut proposals: BTreeMap<&str, Proposal> = BTreeMap::new();
    for line in &summary.lines {
        proposals.entry(&line.element).or_default().add(line);
    }
    let mut text = String::from("grants:\n");
    for (element, proposal) in &proposals {
        text.push_str(&proposal.to_yaml(element));
    }
    if proposals.is_empty() { "grants: []\n".to_owned() } else { text }
}

impl Proposal {
    fn add(&mut self, line: &Line) {
        self.digest.clone_from(&line.digest);
        let needs = Question::of_record(&line.cap, &line.subject).and_then(|question| question.needs().ok());
        match needs {
            Some(needs) if !needs.is_empty() && !line.rule.contains("never: ") => {
                for need in needs.into_iter().filter(|need| !need.capability().always_granted()) {
                    if !self.needs.contains(&need) {
                        self.needs.push(need);
                    }
                }
            }
            Some(_) | None if line.cap == "log" || line.cap == "config" || line.cap == "facts" => {}
            Some(_) | None => {
                let refused = format!("{} {}: {}", line.cap, escape(&line.subject), escape(&line.rule));
                if !self.refused.contains(&refused) {
                    self.refused.push(refused);
                }
            }
        }
    }

    fn to_yaml(&self, element: &str) -> String {
        let digest = Some(self.digest.clone()).filter(|digest| !digest.is_empty());
        let identity = Identity { digest, ..Identity::named(element) };
        let mut text = format!("  - element: {}\n    allow:\n", identity.as_grantee());
        let mut by_capability: BTreeMap<(u8, Capability), Vec<&str>> = BTreeMap::new();
        for need in &self.needs {
            by_capability.entry((need.risk(), need.capability())).or_default().push(need.value());
        }
        // One key for each capability: values of another risk join the highest, so that the comment covers all of them.
        let mut merged: BTreeMap<Capability, (u8, Vec<&str>)> = BTreeMap::new();
        for ((risk, capability), values) in by_capability {
            let entry = merged.entry(capability).or_default();
            entry.0 = entry.0.max(risk);
            entry.1.extend(values);
        }
        let mut lines: Vec<(u8, Capability, Vec<&str>)> =
            merged.into_iter().map(|(capability, (risk, values))| (risk, capability, values)).collect();
        lines.sort();
        let plain =
            lines.iter().filter(|(risk, capability, _)| needs_a_look(*risk, *capability).is_none()).count();
        if plain == 0 {
            text = text.replace("    allow:\n", "    allow: {}\n");
        }
        for (risk, capability, mut values) in lines {
            values.sort_unstable();
            values.dedup();
            let values = quoted_list(values.iter().copied());
            match needs_a_look(risk, capability) {
                Some(why) => {
                    text.push_str(&format!("    #  {capability}: {values}   # risk {risk}: {why}\n"))
                }
                None => text.push_str(&format!("      {capability}: {values}   # risk {risk}\n")),
            }
        }
        for refused in &self.refused {
            text.push_str(&format!("    # not proposed: {}\n", refused.replace('\n', " ")));
        }
        text
    }
}

/// Why a person must look before it is granted, if so.
fn needs_a_look(risk: u8, capability: Capability) -> Option<&'static str> {
    let look = risk > RISK_LIMIT
        || matches!(
            capability,
            Capability::TargetWritePrivileged | Capability::UserPrivileged | Capability::KernelCmdlineUnsafe
        );
    look.then(|| capability.reason())
}

/// A name of a file as a comment of YAML.
pub fn heading(log: &str) -> String {
    format!(
        "# Proposed by dibw policy suggest from {}: what the build asked for, and no more.\n",
        quoted(log)
    )
}
