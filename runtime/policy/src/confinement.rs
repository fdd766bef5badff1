//! How a classic (shell) hook is caged: the levels, and which one an element gets.
//!
//! Must not know: how a level is made real (that is `dibw-sys`).
//! Callers: the plan, `dibw policy explain`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::policy::Policy;

/// How a classic hook is confined, tightest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// It does not run; the build is refused.
    Deny,
    /// Own user, mount, pid, net, ipc and uts namespaces, eight capabilities, the target as its world. Only for hooks in the target.
    Strict,
    /// Own namespaces, the machine read-only, dangerous capabilities dropped. Only for hooks outside.
    Confined,
    /// As root of the machine, in private namespaces only so that nothing is left behind. Only for hooks outside.
    Host,
}

/// Where a hook runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// On the building machine (`root.d`, `extra-data.d`, `block-device.d` ...).
    Outside,
    /// In the target (`install.d` ...).
    Inside,
}

impl Level {
    /// Every level.
    pub const ALL: [Level; 4] = [Level::Deny, Level::Strict, Level::Confined, Level::Host];

    /// The word in policies and plans.
    pub const fn name(self) -> &'static str {
        match self {
            Level::Deny => "deny",
            Level::Strict => "strict",
            Level::Confined => "confined",
            Level::Host => "host",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Level::ALL
            .into_iter()
            .find(|l| l.name() == word)
            .ok_or_else(|| format!("`{word}` is not one of deny, strict, confined, host"))
    }
}

/// The level of a classic element's hooks on one side, and the rule that says so.
///
/// Without a rule: `confined` outside, `strict` inside. Every level but `deny` means `strict` inside the target, where the tighter cage
/// works. A rule of `strict` denies hooks outside: there is no such cage for them.
pub fn confinement_of(element: &str, side: Side, policy: &Policy) -> (Level, String) {
    let rule = policy.classic.allow.iter().find(|r| r.element == element);
    let (level, why) = match (rule, policy.classic.default) {
        (Some(rule), _) => {
            let mut why = format!("classic.allow of {}:{}", policy.label(), rule.line);
            if rule.level == Level::Host {
                why.push_str(&format!(" ({}; {}, until {})", rule.reason, rule.owner, rule.expires));
            }
            (rule.level, why)
        }
        (None, Some(level)) => (level, format!("classic.default of {}", policy.label())),
        (None, None) => (Level::Confined, "default for classic elements".to_owned()),
    };
    match side {
        Side::Inside if level != Level::Deny => (Level::Strict, why),
        Side::Outside if level == Level::Strict => {
            (Level::Deny, format!("{why}: nothing outside the target is strict"))
        }
        Side::Inside | Side::Outside => (level, why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Classic, ClassicRule};

    #[test]
    fn built_in_policy() {
        let policy = Policy::default();
        let why = "default for classic elements".to_owned();
        assert_eq!(confinement_of("vm", Side::Outside, &policy), (Level::Confined, why.clone()));
        assert_eq!(confinement_of("vm", Side::Inside, &policy), (Level::Strict, why));
    }

    #[test]
    fn rules_of_a_file() {
        let rule = ClassicRule {
            element: "raid".into(),
            level: Level::Host,
            reason: "losetup".into(),
            owner: "storage".into(),
            expires: "2030-01-01".into(),
            line: 9,
        };
        let classic = Classic { default: Some(Level::Deny), allow: vec![rule] };
        let policy = Policy { file: Some("p.yaml".into()), classic, ..Policy::default() };
        let said = "classic.allow of p.yaml:9 (losetup; storage, until 2030-01-01)".to_owned();
        assert_eq!(confinement_of("raid", Side::Outside, &policy), (Level::Host, said.clone()));
        assert_eq!(confinement_of("raid", Side::Inside, &policy), (Level::Strict, said));
        assert_eq!(
            confinement_of("vm", Side::Inside, &policy),
            (Level::Deny, "classic.default of p.yaml".to_owned())
        );
    }

    #[test]
    fn strict_is_for_the_target() {
        let classic = Classic { default: Some(Level::Strict), allow: Vec::new() };
        let policy = Policy { file: Some("p.yaml".into()), classic, ..Policy::default() };
        let said = "classic.default of p.yaml";
        assert_eq!(confinement_of("vm", Side::Inside, &policy), (Level::Strict, said.to_owned()));
        let denied = (Level::Deny, format!("{said}: nothing outside the target is strict"));
        assert_eq!(confinement_of("vm", Side::Outside, &policy), denied);
    }
}
