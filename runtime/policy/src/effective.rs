//! `effective = needs ∩ grant ∩ ceiling`, for one element in one build.
//!
//! Callers: the engine and the mock host make one per element; [`crate::decide()`] asks it.

use serde::{Deserialize, Serialize};

use crate::need::Need;
use crate::policy::{Mode, Policy, RISK_LIMIT, Rule};
use crate::requirement::Requirement;
use crate::{Denial, Grant};

/// What one element may do. Serialises into the plan, so that what is executed is what was shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effective {
    element: String,
    needs: Vec<Need>,
    /// The file's grants for this element; none without a file.
    granted: Option<Vec<Rule>>,
    command_line: Vec<Need>,
    ceiling: Option<Vec<Rule>>,
    mode: Mode,
    label: String,
}

/// A gate that an operation did not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// The element's manifest does not ask for it.
    Needs,
    /// It asks, but the risk is above what is granted without the command line.
    Risk,
    /// The policy file does not grant it.
    Grant,
    /// The policy file's ceiling does not reach it.
    Ceiling,
}

impl Gate {
    /// Whether `mode: audit` lets through what this gate refuses.
    pub(crate) fn belongs_to_the_file(self) -> bool {
        match self {
            Gate::Needs | Gate::Risk => false,
            Gate::Grant | Gate::Ceiling => true,
        }
    }
}

impl Effective {
    /// The rights of `element` with these needs under a policy and the grants of the command line (those of other
    /// elements are passed over).
    pub fn new(element: &str, needs: &[Need], policy: &Policy, grants: &[Grant]) -> Self {
        Effective {
            element: element.to_owned(),
            needs: needs.to_vec(),
            granted: policy.file.as_ref().map(|_| policy.grants_of(element).cloned().collect()),
            command_line: grants.iter().filter(|g| g.element == element).map(|g| g.need.clone()).collect(),
            ceiling: policy.ceiling.clone(),
            mode: policy.mode,
            label: policy.label().to_owned(),
        }
    }

    /// The element these rights belong to.
    pub fn element(&self) -> &str {
        &self.element
    }

    /// What the element's manifest asks for.
    pub fn needs(&self) -> &[Need] {
        &self.needs
    }

    /// What a refusal by the policy file does.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The policy's name in messages.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// Needs that are refused before anything runs, each with what would allow it: the plan reports them.
    ///
    /// A need that is only granted in part is not listed; what it is not granted is refused when it is asked for.
    pub fn refused_needs(&self) -> Vec<Denial> {
        let refused = |need: &Need| {
            let gates = self.gates_for_need(need);
            let stops = gates.iter().any(|g| self.mode == Mode::Enforce || !g.belongs_to_the_file());
            stops.then(|| Denial::of_need(self, need, &gates))
        };
        self.needs.iter().filter(|n| !n.capability().always_granted()).filter_map(refused).collect()
    }

    fn gates_for_need(&self, need: &Need) -> Vec<Gate> {
        let overlaps = |other: &Need| other.contains(need) || need.contains(other);
        let by_hand = self.command_line.iter().any(overlaps);
        let mut gates = Vec::new();
        if need.risk() > RISK_LIMIT && !by_hand {
            gates.push(Gate::Risk);
        }
        // Two globs can overlap without one holding the other; then it is decided when something is asked.
        let same = |r: &Rule| r.need.capability() == need.capability();
        if let Some(granted) = &self.granted
            && !by_hand
            && !granted.iter().any(same)
        {
            gates.push(Gate::Grant);
        }
        if let Some(ceiling) = &self.ceiling
            && !ceiling.iter().any(same)
        {
            gates.push(Gate::Ceiling);
        }
        gates
    }

    /// The gates that refuse a requirement, or the rule that allows it.
    pub(crate) fn judge(&self, requirement: &Requirement) -> Result<String, Vec<Gate>> {
        if requirement.capability.always_granted() {
            return Ok("always granted".to_owned());
        }
        let covers = |n: &Need| {
            n.capability() == requirement.capability && n.covers(&requirement.words, requirement.extent)
        };
        let declared: Vec<&Need> = self.needs.iter().filter(|n| covers(n)).collect();
        let by_hand = self.command_line.iter().find(|n| covers(n));
        let low_risk = declared.iter().any(|n| n.risk() <= RISK_LIMIT);
        let by_file = self.granted.as_ref().map(|rules| rules.iter().find(|r| covers(&r.need)));
        let below_ceiling = self.ceiling.as_ref().is_none_or(|rules| rules.iter().any(|r| covers(&r.need)));

        let mut gates = Vec::new();
        if declared.is_empty() {
            gates.push(Gate::Needs);
        }
        if by_hand.is_none() {
            if !declared.is_empty() && !low_risk {
                gates.push(Gate::Risk);
            }
            if matches!(by_file, Some(None)) {
                gates.push(Gate::Grant);
            }
        }
        if !below_ceiling {
            gates.push(Gate::Ceiling);
        }
        if !gates.is_empty() {
            return Err(gates);
        }
        let need = declared.first().map(|n| n.to_string()).unwrap_or_default();
        Ok(match (by_hand, by_file.flatten()) {
            (Some(grant), _) => {
                format!("needs {need}; --grant {}:{}={}", self.element, grant.capability(), grant.value())
            }
            (None, Some(rule)) => format!("needs {need}; granted by {}:{}", self.label, rule.line),
            (None, None) => format!("needs {need}; granted by default"),
        })
    }
}
