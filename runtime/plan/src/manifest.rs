//! What a typed element says of itself: the JSON in its `dibw:manifest` section. A claim, not a boundary: what an element
//! may do is decided by its imports and the policy.
//!
//! Must not know: where the bytes come from (the host crate digs them out of the component).
//! Callers: the element model, `dibw-host`, `dibw element info`.

use dibw_policy::Need;
use serde::{Deserialize, Serialize};

use crate::fault::{Fault, FaultKind, Faults};
use crate::phase::Phase;

/// The released contract that this version links: `dibw:element@0.1.0`.
pub const API: &str = "0.1";

/// Most entries in any list of a manifest: more is a mistake or an attack.
const MOST: usize = 1000;

/// The manifest of a typed element.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Lower case letters, digits and hyphens.
    pub id: String,
    /// The element's own version.
    #[serde(default)]
    pub version: String,
    /// The contract it was built for, as in `0.1`.
    pub api: String,
    /// One line for people.
    #[serde(default)]
    pub summary: String,
    /// Where it runs.
    #[serde(default)]
    pub hooks: Vec<ManifestHook>,
    /// Elements it needs.
    #[serde(default)]
    pub depends: Vec<String>,
    /// Names it stands for.
    #[serde(default)]
    pub provides: Vec<String>,
    /// JSON Schema of its configuration; null when it has none.
    #[serde(default)]
    pub config_schema: serde_json::Value,
    /// What it asks for.
    #[serde(default)]
    pub needs: Vec<Need>,
    /// What it contributes to the layout of the disk: a block device configuration, as `block-device-default.yaml` has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<String>,
    /// The kit it was built with, as in `dibw-sdk 0.1.0`.
    #[serde(default)]
    pub sdk: String,
}

/// One hook: a phase and the place among that phase's hooks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestHook {
    /// A phase name.
    pub phase: String,
    /// Hooks run in ascending order, shell and typed together.
    #[serde(default = "middle")]
    pub order: i64,
}

fn middle() -> i64 {
    50
}

impl Manifest {
    /// Reads the JSON of a manifest section. The contract's version is looked at first: a manifest of another version
    /// may have a different shape, and must not end as a complaint about a field.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn from_json(json: &[u8]) -> Result<Self, Faults> {
        let fault = |message: String| Fault::new(FaultKind::Element, message);
        let value: serde_json::Value =
            serde_json::from_slice(json).map_err(|e| fault(format!("the manifest is not JSON: {e}")))?;
        let text = |key: &str| value.get(key).and_then(serde_json::Value::as_str);
        let Some(api) = text("api") else {
            return Err(fault("the manifest has no `api`".to_owned()).into());
        };
        if api != API {
            let id = dibw_policy::subject::escape(text("id").unwrap_or("the element"));
            let api = dibw_policy::subject::escape(api);
            return Err(fault(format!("{id} needs dibw:element {api}, this dibw speaks {API}"))
                .hint(format!("upgrade dibw, or build {id} with an SDK for {API}"))
                .into());
        }
        let manifest: Self = serde_json::from_value(value)
            .map_err(|e| fault(format!("the manifest does not make sense: {e}")))?;
        let faults = manifest.check();
        faults.or(manifest)
    }

    /// Everything that is wrong with it.
    pub fn check(&self) -> Faults {
        let mut faults = Faults::default();
        let id = dibw_policy::subject::escape(&self.id);
        let mut wrong = |message: String| faults.push(Fault::new(FaultKind::Element, message));
        if !is_element_name(&self.id) {
            wrong(format!("`{id}` is not an element id: lower case letters, digits and hyphens are"));
        }
        for (what, names) in [("depends", &self.depends), ("provides", &self.provides)] {
            for name in names.iter().filter(|name| !is_element_name(name)) {
                let name = dibw_policy::subject::escape(name);
                wrong(format!("{id}: {what} `{name}` is not an element name"));
            }
        }
        for (place, hook) in self.hooks.iter().enumerate() {
            if Phase::from_name(&hook.phase).is_none() {
                let phase = dibw_policy::subject::escape(&hook.phase);
                wrong(format!("{id}: there is no phase `{phase}`"));
            }
            if self.hooks[..place].iter().any(|before| before.phase == hook.phase) {
                wrong(format!("{id}: phase `{}` has two hooks", hook.phase));
            }
            if !(0..=9999).contains(&hook.order) {
                wrong(format!("{id}: order {} of `{}` is not between 0 and 9999", hook.order, hook.phase));
            }
        }
        if [self.hooks.len(), self.depends.len(), self.provides.len(), self.needs.len()]
            .iter()
            .any(|n| *n > MOST)
        {
            wrong(format!("{id}: a list in the manifest has more than {MOST} entries"));
        }
        faults
    }

    /// The order of the hook in a phase, when it has one.
    pub fn hook_order(&self, phase: Phase) -> Option<i64> {
        self.hooks.iter().find(|hook| hook.phase == phase.name()).map(|hook| hook.order)
    }
}

/// Whether a typed element may be called so.
pub fn is_element_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.starts_with(plain) && name.len() <= 100 && name.chars().all(|c| plain(c) || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_round_trips_and_ignores_what_newer_kits_add() {
        let json = r#"{"id":"motd","version":"1.0.0","api":"0.1","summary":"Writes /etc/motd.","hooks":[{"phase":"install","order":50}],
            "depends":[],"provides":[],"config_schema":null,"needs":[{"capability":"target.write","value":"/etc/motd"}],"sdk":"dibw-sdk 0.1.0","later":1}"#;
        let manifest = Manifest::from_json(json.as_bytes()).unwrap();
        assert_eq!(manifest.hook_order(Phase::Install), Some(50));
        assert_eq!(manifest.hook_order(Phase::Root), None);
        let again = serde_json::to_vec(&manifest).unwrap();
        assert_eq!(Manifest::from_json(&again), Ok(manifest));
    }

    #[test]
    fn what_can_be_wrong() {
        let cases = [
            ("{", "error: the manifest is not JSON: EOF while parsing an object at line 1 column 1"),
            ("{}", "error: the manifest has no `api`"),
            (
                r#"{"id":"motd","api":"0.3","needs":7}"#,
                "error: motd needs dibw:element 0.3, this dibw speaks 0.1\n  hint: upgrade dibw, or build motd with an SDK for 0.1",
            ),
            (
                r#"{"id":"../x","api":"0.1"}"#,
                "error: `../x` is not an element id: lower case letters, digits and hyphens are",
            ),
            (
                r#"{"id":"x","api":"0.1","hooks":[{"phase":"instal"}],"depends":["A"]}"#,
                "error: x: depends `A` is not an element name\nerror: x: there is no phase `instal`",
            ),
            (
                r#"{"id":"x","api":"0.1","needs":[{"capability":"fs.post","value":"a"}]}"#,
                "error: the manifest does not make sense: `fs.post` is not a capability: file systems are finished by the runtime alone",
            ),
        ];
        for (json, said) in cases {
            assert_eq!(Manifest::from_json(json.as_bytes()).unwrap_err().to_string(), said);
        }
    }
}
