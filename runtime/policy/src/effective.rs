//! `effective = needs ∩ grant ∩ ceiling`, for one element in one build, and the one function that judges a requirement by every gate.
//!
//! Callers: the plan makes one per element; [`crate::decide()`] asks it.

use serde::{Deserialize, Serialize};

use crate::Grant;
use crate::capability::Capability;
use crate::confinement::Cage;
use crate::decide::Denial;
use crate::explanation::{Answer, Gate, Place, Verdict};
use crate::fix::Fix;
use crate::identity::Identity;
use crate::need::Need;
use crate::never::NeverRule;
use crate::policy::{Layer, Mode, Policy, RISK_LIMIT, Rule};
use crate::requirement::Requirement;
use crate::url::Checksum;

/// What one element may do. Serialises into the plan, so that what is executed is what was shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effective {
    identity: Identity,
    needs: Vec<Need>,
    /// The base is the built-in policy: risk counts, and so does the command line.
    built_in: bool,
    command_line: Vec<Need>,
    layers: Vec<LayerRights>,
    never: Vec<NeverRule>,
    mode: Mode,
}

/// What a layer of policy files says about the element.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct LayerRights {
    label: String,
    files: Vec<FileRights>,
}

/// What one file says about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct FileRights {
    file: String,
    /// Grants of the file for this element's name.
    grants: Vec<GrantRights>,
    /// How many grants it has for all elements.
    grant_count: usize,
    ceiling: Option<Vec<Rule>>,
    ceiling_line: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct GrantRights {
    index: usize,
    line: usize,
    /// Why it is not for these bytes.
    mismatch: Option<String>,
    allow: Vec<Rule>,
}

impl Effective {
    /// The rights of an element with these needs under a policy and the grants of the command line. Those of other elements are passed
    /// over, and all where a site's policy decides ([`Policy::refuse_grant`]).
    pub fn new(identity: &Identity, needs: &[Need], policy: &Policy, grants: &[Grant]) -> Self {
        let own = |grant: &&Grant| policy.is_built_in() && grant.element == identity.id;
        Effective {
            identity: identity.clone(),
            needs: needs.to_vec(),
            built_in: policy.is_built_in(),
            command_line: grants.iter().filter(own).map(|grant| grant.need.clone()).collect(),
            layers: policy.layers().map(|layer| LayerRights::of(identity, layer)).collect(),
            never: policy.files().flat_map(|file| &file.never).cloned().collect(),
            mode: policy.mode(),
        }
    }

    /// What the traffic of classic hooks may be: to the origins and addresses of their cage, whatever is known of the contents. None for a
    /// cage without such a list.
    ///
    /// # Errors
    /// An entry of the list that is neither an origin nor a block of addresses: policy files have none.
    pub fn of_traffic(identity: &Identity, cage: &Cage, policy: &Policy) -> Result<Option<Self>, String> {
        let Some(net) = &cage.net else { return Ok(None) };
        let need = |entry: &String| match entry.contains("://") {
            true => Need::new(Capability::NetFetch, &format!("{entry} {}", Checksum::None)),
            false => Need::new(Capability::NetAddress, entry),
        };
        let needs = net.iter().map(need).collect::<Result<Vec<_>, _>>()?;
        let rule = |need: &Need| Rule {
            need: need.clone(),
            file: cage.file.clone(),
            line: cage.line,
            key: "classic.allow".to_owned(),
        };
        let grant = GrantRights {
            index: 0,
            line: cage.line,
            mismatch: None,
            allow: needs.iter().map(rule).collect(),
        };
        let file = FileRights {
            file: cage.file.clone(),
            grants: vec![grant],
            grant_count: 1,
            ceiling: None,
            ceiling_line: 0,
        };
        Ok(Some(Effective {
            identity: identity.clone(),
            needs,
            built_in: false,
            command_line: Vec::new(),
            layers: vec![LayerRights { label: cage.file.clone(), files: vec![file] }],
            never: policy.files().flat_map(|file| &file.never).cloned().collect(),
            mode: policy.mode(),
        }))
    }

    /// The rights of the runtime itself, which writes images in any format that no ceiling keeps it from. A ceiling that does not speak
    /// of formats leaves them all.
    pub fn of_runtime(policy: &Policy) -> Self {
        let formats = Need::new(Capability::ImageEmit, "*").expect("`*` is a glob of names");
        let mut own = Effective::new(&Identity::named("dibw"), std::slice::from_ref(&formats), policy, &[]);
        for file in own.layers.iter_mut().flat_map(|layer| &mut layer.files) {
            let speaks =
                |rules: &Vec<Rule>| rules.iter().any(|r| r.need.capability() == Capability::ImageEmit);
            file.ceiling = file.ceiling.take().filter(speaks);
            let rule = Rule {
                need: formats.clone(),
                file: file.file.clone(),
                line: 0,
                key: "the runtime's own".to_owned(),
            };
            file.grants.push(GrantRights { index: 0, line: 0, mismatch: None, allow: vec![rule] });
        }
        own
    }

    /// The element these rights belong to.
    pub fn element(&self) -> &str {
        &self.identity.id
    }

    /// The element with what its bytes are.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What the element's manifest asks for.
    pub fn needs(&self) -> &[Need] {
        &self.needs
    }

    /// By which rules a need is met, for the plan: of each layer of policy files `FILE:LINE`, or that it is met in part or not at all;
    /// nothing where the built-in policy alone decides.
    pub fn standing(&self, need: &Need) -> Option<String> {
        if self.layers.is_empty() || need.capability().always_granted() {
            return None;
        }
        let by_layer = |layer: &LayerRights| {
            let mut same =
                layer.granted().filter(|rule| rule.need.capability() == need.capability()).peekable();
            let in_part = same.peek().is_some();
            match same.find(|rule| rule.need.contains(need)) {
                Some(rule) => format!("{}:{}", rule.file, rule.line),
                None if in_part => format!("in part by {}", layer.label),
                None => format!("not granted by {}", layer.label),
            }
        };
        Some(self.layers.iter().map(by_layer).collect::<Vec<_>>().join("; "))
    }

    /// What a refusal by the policy files does.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Needs that are refused before anything runs, each with what would allow it: the plan reports them.
    ///
    /// A need that is only granted in part is not listed; what it is not granted is refused when it is asked for.
    pub fn refused_needs(&self) -> Vec<Denial> {
        let refused = |need: &Need| {
            let answers = self.answers_for_need(need);
            let stops =
                |a: &Answer| !a.passed && (self.mode == Mode::Enforce || !a.gate.belongs_to_the_file());
            let stopped = answers.iter().any(stops);
            let refusals: Vec<&Answer> = answers.iter().collect();
            stopped.then(|| Denial::of_answers(need.capability(), need.value(), &refusals))
        };
        self.needs.iter().filter(|n| !n.capability().always_granted()).filter_map(refused).collect()
    }

    /// Whether some of what the need covers may pass each gate. Two globs can overlap without one holding the other; then it is decided
    /// when something is asked.
    fn answers_for_need(&self, need: &Need) -> Vec<Answer> {
        let overlaps = |other: &Need| other.contains(need) || need.contains(other);
        let by_hand = self.command_line.iter().any(overlaps);
        let same = |rule: &&Rule| rule.need.capability() == need.capability();
        let mut answers = Vec::new();
        if self.built_in && need.risk() > RISK_LIMIT && !by_hand {
            answers.push(self.risk_answer(need.capability(), need.value()));
        }
        for layer in &self.layers {
            if !by_hand && !layer.granted().any(|rule| same(&rule)) {
                answers.push(self.ungranted(layer, need.capability(), need.value(), |found| overlaps(found)));
            }
            for (file, rules) in layer.ceilings() {
                if !rules.iter().any(|rule| same(&rule)) {
                    answers.push(file.above_ceiling(rules, need.capability(), need.value()));
                }
            }
        }
        answers
    }

    /// Judges a requirement by every gate.
    pub(crate) fn judge(&self, requirement: &Requirement) -> Verdict {
        let value = requirement.narrowest_value();
        let capability = requirement.capability;
        let subject = requirement.words.join(" ");
        if capability.always_granted() {
            let always = Answer::yes(Gate::Needs, "always granted".to_owned(), None);
            return Verdict { capability, subject, value, answers: vec![always] };
        }
        let covers =
            |n: &Need| n.capability() == capability && n.covers(&requirement.words, requirement.extent);
        let declared: Vec<&Need> = self.needs.iter().filter(|n| covers(n)).collect();
        let by_hand = self.command_line.iter().find(|n| covers(n));
        let mut answers = vec![match declared.first() {
            Some(need) => Answer::yes(Gate::Needs, format!("needs {need}"), None),
            None => self.undeclared(capability, &value),
        }];
        if let Some(rule) = self.never.iter().find(|rule| rule.refuses(requirement)) {
            answers.push(Answer::no(
                Gate::Never,
                format!("never: {} of {}:{}", rule.shown(), rule.file, rule.line),
                Some(Place::line(&rule.file, rule.line)),
                Vec::new(),
            ));
        }
        answers.extend(self.by_risk(requirement, &declared, by_hand, &value));
        for layer in &self.layers {
            answers.push(match (by_hand, layer.granted().find(|rule| covers(&rule.need))) {
                (_, Some(rule)) => {
                    Answer::by_rule(Gate::Grant, format!("granted by {}:{}", rule.file, rule.line), rule)
                }
                (Some(need), None) => self.granted_by_hand(need),
                (None, None) => self.ungranted(layer, capability, &value, covers),
            });
            for (file, rules) in layer.ceilings() {
                answers.push(match rules.iter().find(|rule| covers(&rule.need)) {
                    Some(rule) => {
                        Answer::by_rule(Gate::Ceiling, format!("below the ceiling {}", rule.need), rule)
                    }
                    None => file.above_ceiling(rules, capability, &value),
                });
            }
        }
        if requirement.is_a_pattern() {
            answers.iter_mut().for_each(|answer| answer.fixes.clear());
        }
        Verdict { capability, subject, value, answers }
    }

    fn by_risk(
        &self,
        requirement: &Requirement,
        declared: &[&Need],
        by_hand: Option<&Need>,
        value: &str,
    ) -> Option<Answer> {
        let low = declared.iter().any(|need| need.risk() <= RISK_LIMIT);
        match (self.built_in, by_hand) {
            (false, _) => None,
            (true, Some(need)) if self.layers.is_empty() => Some(self.granted_by_hand(need)),
            (true, Some(_)) => None,
            (true, None) if declared.is_empty() => None,
            (true, None) if low && self.layers.is_empty() => {
                Some(Answer::yes(Gate::Grant, "granted by default".to_owned(), None))
            }
            (true, None) if low => None,
            (true, None) => Some(self.risk_answer(requirement.capability, value)),
        }
    }

    fn granted_by_hand(&self, need: &Need) -> Answer {
        let text = format!("--grant {}:{}={}", self.element(), need.capability(), need.value());
        Answer::yes(Gate::Grant, text, None)
    }

    fn undeclared(&self, capability: Capability, value: &str) -> Answer {
        let reason = format!(
            "`{}` does not declare {capability} {} in its needs",
            self.element(),
            crate::subject::escape(value)
        );
        Answer::no(Gate::Needs, reason, None, vec![Fix::need(capability, value)])
    }

    fn risk_answer(&self, capability: Capability, value: &str) -> Answer {
        let reason = format!(
            "{capability} {} has risk 4 ({}) and is granted on the command line only",
            crate::subject::escape(value),
            capability.reason()
        );
        let fix = Fix::CommandLine { grant: format!("{}:{capability}={value}", self.element()) };
        Answer::no(Gate::Risk, reason, None, vec![fix])
    }

    /// The refusal of a layer that grants nothing that covers: says whether a grant would, were it for these bytes.
    fn ungranted(
        &self,
        layer: &LayerRights,
        capability: Capability,
        value: &str,
        covers: impl Fn(&Need) -> bool,
    ) -> Answer {
        let grants =
            || layer.files.iter().flat_map(|file| file.grants.iter().map(move |grant| (file, grant)));
        let for_others = grants().find_map(|(file, grant)| {
            let wrong = grant.mismatch.as_ref()?;
            grant.allow.iter().any(|rule| covers(&rule.need)).then_some((file, grant, wrong))
        });
        if let Some((file, grant, wrong)) = for_others {
            let reason = format!("granted {wrong} ({}:{})", file.file, grant.line);
            let fix = Fix::pin(&file.file, grant.line, grant.index, &self.identity);
            return Answer::no(Gate::Grant, reason, Some(Place::line(&file.file, grant.line)), vec![fix]);
        }
        let fitting = grants().find(|(_, grant)| grant.mismatch.is_none());
        let element = self.element();
        let shown = crate::subject::escape(value);
        let place = fitting.map(|(file, grant)| Place::line(&file.file, grant.line));
        let fix = match fitting {
            Some((file, grant)) => {
                let key = format!("grants[{}].allow.{capability}", grant.index);
                Fix::values(&file.file, grant.line, key, values_of(&grant.allow, capability), value)
            }
            None => {
                let file = layer.files.first().expect("a layer has a file");
                Fix::new_grant(&file.file, file.grant_count, &self.identity, capability, value)
            }
        };
        let reason = format!("{} does not grant {capability} {shown} to `{element}`", layer.label);
        Answer::no(Gate::Grant, reason, place, vec![fix])
    }
}

impl LayerRights {
    fn of(identity: &Identity, layer: &Layer) -> Self {
        let grants = |file: &crate::file::PolicyFile| {
            let own = file.grants.iter().enumerate().filter(|(_, grant)| grant.element == identity.id);
            let rights = own.map(|(index, grant)| GrantRights {
                index,
                line: grant.line,
                mismatch: grant.pin.mismatch(identity),
                allow: grant.allow.clone(),
            });
            rights.collect()
        };
        let files = layer.files().iter().map(|file| FileRights {
            file: file.file.clone(),
            grants: grants(file),
            grant_count: file.grants.len(),
            ceiling: file.ceiling.as_ref().and_then(|ceiling| ceiling.rules.clone()),
            ceiling_line: file.ceiling.as_ref().map_or(0, |ceiling| ceiling.line),
        });
        LayerRights { label: layer.label(), files: files.collect() }
    }

    /// What is granted to these bytes, by any file.
    fn granted(&self) -> impl Iterator<Item = &Rule> {
        let fitting =
            self.files.iter().flat_map(|file| &file.grants).filter(|grant| grant.mismatch.is_none());
        fitting.flat_map(|grant| &grant.allow)
    }

    fn ceilings(&self) -> impl Iterator<Item = (&FileRights, &[Rule])> {
        self.files.iter().filter_map(|file| Some((file, file.ceiling.as_deref()?)))
    }
}

impl FileRights {
    fn above_ceiling(&self, rules: &[Rule], capability: Capability, value: &str) -> Answer {
        let own = rules.iter().filter(|rule| rule.need.capability() == capability);
        let line = own.map(|rule| rule.line).next().unwrap_or(self.ceiling_line);
        let reason =
            format!("{capability} {} is above the ceiling of {}", crate::subject::escape(value), self.file);
        let values = values_of(rules, capability);
        let fix = Fix::values(&self.file, line, format!("ceiling.{capability}"), values, value);
        Answer::no(Gate::Ceiling, reason, Some(Place::line(&self.file, line)), vec![fix])
    }
}

fn values_of(rules: &[Rule], capability: Capability) -> Vec<String> {
    let own = rules.iter().filter(|rule| rule.need.capability() == capability);
    own.map(|rule| rule.need.value().to_owned()).collect()
}

#[cfg(test)]
mod tests;
