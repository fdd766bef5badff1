//! What classic hooks need: each is run at the narrowest level first and, when it fails there, at the next one. Called for
//! `dibw element audit`; in every other build nothing here does anything.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use dibw_plan::{Confinement, Extra, Phase, Side, Step};
use dibw_policy::confinement::Cage;
use dibw_policy::{Effective, Identity, Level, Policy, Record};

use crate::failure::Failure;
use crate::run::Build;

/// Which elements are tried, and what was found: to be read when the build has ended, well or not.
#[derive(Debug, Clone, Default)]
pub struct Trials {
    /// The elements; all where there is none.
    pub elements: BTreeSet<String>,
    /// One for each hook, in the order they ran.
    pub findings: Rc<RefCell<Vec<Finding>>>,
}

/// What one hook needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its element.
    pub element: String,
    /// `root.d/10-x`.
    pub hook: String,
    /// Where it runs.
    pub side: Side,
    /// The narrowest level that it ended well at; none where it failed at all that were tried.
    pub level: Option<Level>,
    /// Origins it connected to, and ranges of addresses that are not public.
    pub net: BTreeSet<String>,
    /// What it tried and was denied, at any level.
    pub denied: BTreeSet<String>,
    /// Why each narrower level did not do.
    pub failed: Vec<String>,
}

/// What is tried for a hook outside that has the network, narrowest first: the level and the network. One that only reads the variables of
/// a proxy is not to find any. `host` is for nobody to try: it is root on this machine.
const CAGES: [(Level, Confinement, Option<Extra>); 3] = [
    (Level::Strict, Confinement::Strict, None),
    (Level::Strict, Confinement::Strict, Some(Extra::Proxy)),
    (Level::Confined, Confinement::Confined, Some(Extra::Network)),
];

/// What the connections of a hook are judged by while it is tried: all but what no policy can allow, and all are recorded.
const ANYWHERE: [&str; 4] = ["https://*", "http://*", "0.0.0.0/0", "::/0"];

impl Trials {
    fn wants(&self, step: &Step) -> bool {
        let element = step.element.as_deref().unwrap_or_default();
        !element.is_empty() && (self.elements.is_empty() || self.elements.contains(element))
    }
}

impl Build<'_> {
    /// Whether this step's hook is tried.
    pub(crate) fn is_tried(&self, step: &Step) -> bool {
        self.trials.as_ref().is_some_and(|trials| trials.wants(step))
    }

    /// Runs the hook of a step at the narrowest level that it ends well at.
    pub(crate) fn try_script(&mut self, phase: Phase, name: &str, step: &Step) -> Result<(), Failure> {
        let mut finding = Finding {
            element: step.element.clone().unwrap_or_default(),
            hook: format!("{phase}.d/{name}"),
            side: phase.side(),
            level: None,
            net: BTreeSet::new(),
            denied: BTreeSet::new(),
            failed: Vec::new(),
        };
        let online = step.extras.contains(&Extra::Network);
        let trials: Vec<(Level, Step)> = match phase.side() {
            Side::Inside => vec![(Level::Strict, step.clone())],
            Side::Outside => CAGES
                .into_iter()
                .filter(|(_, _, network)| online || *network != Some(Extra::Proxy))
                .map(|(level, confinement, network)| {
                    let mut extras = step.extras.clone();
                    extras.remove(&Extra::Network);
                    extras.extend(network.filter(|_| online));
                    (level, Step { confinement, extras, ..step.clone() })
                })
                .collect(),
        };
        let again = format!("{}-again", finding.hook.replace('/', "-"));
        let mut outcome = Ok(());
        for (level, trial) in &trials {
            self.tried.borrow_mut().clear();
            outcome = self.run_script(phase, name, trial);
            let tried = std::mem::take(&mut *self.tried.borrow_mut());
            finding.denied.extend(tried.iter().filter(|record| record.capability == "sandbox").map(subject));
            // What it was denied and did without may be missed by a later hook: device nodes, say.
            let did_without =
                tried.iter().find(|record| record.capability == "sandbox" && !is_network(record));
            match (&outcome, did_without) {
                (Ok(()), Some(record)) if *level < Level::Confined && phase.side() == Side::Outside => {
                    finding.failed.push(format!("{level}: it ended well, but was denied {}", record.subject));
                    self.machine().restart_layer(&again)?;
                }
                (Ok(()), _) => {
                    finding.level = Some(*level);
                    finding.net = tried.iter().filter_map(net_of).collect();
                    break;
                }
                (Err(_), _) if self.machine().interrupted() => return outcome,
                (Err(failure), _) => {
                    let last = failure.tail.iter().rev().find(|line| !line.trim().is_empty());
                    let last = last.map(|line| format!(": {}", line.trim())).unwrap_or_default();
                    finding.failed.push(format!("{level}: {}{last}", failure.message));
                    self.machine().restart_layer(&again)?;
                }
            }
        }
        if let Some(trials) = &self.trials {
            trials.findings.borrow_mut().push(finding);
        }
        outcome
    }

    /// What connections are judged by while a hook is tried.
    pub(crate) fn trial_rights(&self, step: &Step) -> Option<Effective> {
        if !self.is_tried(step) {
            return None;
        }
        let cage = Cage {
            level: Level::Strict,
            net: Some(ANYWHERE.map(str::to_owned).to_vec()),
            env: None,
            why: "it is being tried".to_owned(),
            file: "dibw element audit".to_owned(),
            line: 0,
        };
        let identity = Identity::named(step.element.clone().unwrap_or_default());
        Effective::of_traffic(&identity, &cage, &Policy::default()).ok().flatten()
    }
}

fn is_network(record: &Record) -> bool {
    ["connect ", "sendto ", "sendmsg "].iter().any(|call| record.subject.starts_with(call))
}

fn subject(record: &Record) -> String {
    record.subject.clone()
}

/// What a list of origins must have for a connection that was allowed.
fn net_of(record: &Record) -> Option<String> {
    let connected = record.decision == "allow" && record.capability == "net.fetch";
    record.subject.split(' ').next().filter(|_| connected).and_then(dibw_policy::url::origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_of_connections() {
        let record = |subject: &str, decision: &'static str| Record {
            element: "x".to_owned(),
            digest: None,
            phase: "root".to_owned(),
            capability: "net.fetch".to_owned(),
            subject: subject.to_owned(),
            decision,
            rule: String::new(),
            mode: dibw_policy::Mode::Enforce,
        };
        for (subject, decision, origin) in [
            ("https://a.example/x/y none", "allow", Some("https://a.example")),
            ("http://a.example:8080/ none", "allow", Some("http://a.example:8080")),
            ("https://a.example/x none", "deny", None),
        ] {
            assert_eq!(net_of(&record(subject, decision)).as_deref(), origin, "{subject}");
        }
    }
}
