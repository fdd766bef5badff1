//! What the element may do in a test, and which of its needs were of use. The decision is `dibw_policy::decide`'s and nobody else's.

use std::cell::RefCell;

use dibw_policy::{Decision, Effective, Grant, Identity, Need, Operation, Policy, Record, decide};
use dibw_sdk::{Error, Result};

/// The gate before every request.
pub struct Gate {
    element: String,
    needs: Vec<Need>,
    effective: Effective,
    enforced: bool,
    used: RefCell<Vec<bool>>,
    trace: RefCell<String>,
}

impl Gate {
    /// For the element of `manifest`; all that it needs is granted.
    pub fn new(manifest: &str, enforced: bool) -> Self {
        let manifest: serde_json::Value = serde_json::from_str(manifest).expect("element! makes JSON");
        let element = manifest["id"].as_str().expect("element! writes an id").to_owned();
        let needs: Vec<Need> =
            serde_json::from_value(manifest["needs"].clone()).expect("needs! checks each need");
        let effective = rights(&element, &needs);
        let used = RefCell::new(vec![false; needs.len()]);
        Self { element, needs, effective, enforced, used, trace: RefCell::default() }
    }

    /// The element's name.
    pub fn element(&self) -> &str {
        &self.element
    }

    /// Asks, and records the answer.
    pub fn ask(&self, phase: &str, operation: &Operation) -> Result {
        let decision = decide(&self.effective, operation);
        let record = Record::new(&self.effective, phase, operation, &decision);
        let refusal = match decision {
            Decision::Allow { .. } | Decision::WouldDeny(_) => None,
            Decision::Deny(_) if !self.enforced => None,
            Decision::Malformed { message } => Some(Error::Invalid(message)),
            Decision::Deny(denial) => Some(Error::Denied {
                capability: denial.capability.to_string(),
                subject: denial.subject,
                rule: denial.rule,
            }),
        };
        let word = if refusal.is_none() { "allow" } else { record.decision };
        self.note(&format!("{word} {} {}", record.capability, record.subject));
        match refusal {
            Some(error) => Err(error),
            None => {
                self.mark_used(operation);
                Ok(())
            }
        }
    }

    /// Adds a line to the trace.
    pub fn note(&self, line: &str) {
        let mut trace = self.trace.borrow_mut();
        trace.push_str(line);
        trace.push('\n');
    }

    /// Every request and its answer, one line each.
    pub fn trace(&self) -> String {
        self.trace.borrow().clone()
    }

    /// Needs that nothing made use of, as `needs!` lines.
    pub fn unused(&self) -> Vec<String> {
        let used = self.used.borrow();
        self.needs
            .iter()
            .zip(used.iter())
            .filter(|(_, used)| !**used)
            .map(|(need, _)| need.as_macro_line())
            .collect()
    }

    /// A need is of use when, of all needs of its capability, it alone would do. So two that overlap both count.
    fn mark_used(&self, operation: &Operation) {
        for (index, need) in self.needs.iter().enumerate() {
            let others = self.needs.iter().filter(|other| other.capability() != need.capability());
            let without: Vec<Need> = others.cloned().collect();
            let with: Vec<Need> = without.iter().cloned().chain([need.clone()]).collect();
            let allows = |needs: &[Need]| decide(&rights(&self.element, needs), operation).is_allowed();
            if allows(&with) && !allows(&without) {
                self.used.borrow_mut()[index] = true;
            }
        }
    }
}

/// With the grants of the command line for all of them, so that a need of risk 4 can be tested.
fn rights(element: &str, needs: &[Need]) -> Effective {
    let grant = |need: &Need| Grant { element: element.to_owned(), need: need.clone() };
    let grants: Vec<Grant> = needs.iter().map(grant).collect();
    Effective::new(&Identity::named(element), needs, &Policy::default(), &grants)
}
