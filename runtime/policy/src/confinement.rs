//! How a classic (shell) hook is caged: the levels, and which one an element gets.
//!
//! Must not know: how a level is made real (that is `dibw-sys`).
//! Callers: the plan, `dibw policy explain`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::file::PolicyFile;
use crate::identity::{Identity, Pin};
use crate::never::Never;
use crate::policy::{Layer, Policy};

/// How a classic hook is confined, tightest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// It does not run; the build is refused.
    Deny,
    /// Own user, mount, pid, net, ipc and uts namespaces, eight capabilities, the target as its world.
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

/// The `classic` section of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Classic {
    /// For elements without a rule of their own, and its line.
    pub default: Option<(Level, usize)>,
    /// Rules for single elements.
    pub allow: Vec<ClassicRule>,
}

/// How one classic element is confined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicRule {
    /// The element's name.
    pub element: String,
    /// Its level.
    pub level: Level,
    /// Origins that it may reach at level `strict`; none: no network there.
    pub net: Option<Vec<String>>,
    /// Variables that it sees beside those of the runtime; none: all of the phase.
    pub env: Option<Vec<String>>,
    /// SHA-256 over its directory; the rule is for no other.
    pub tree: Option<String>,
    /// Why; required for `host`.
    pub reason: String,
    /// Who answers for it; required for `host`.
    pub owner: String,
    /// Last day (`YYYY-MM-DD`); required for `host`.
    pub expires: String,
    /// Line in the policy file, from 1.
    pub line: usize,
}

/// The cage of an element's hooks on one side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cage {
    /// Its level.
    pub level: Level,
    /// Origins that may be reached; none: no network at level `strict`, else the machine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub net: Option<Vec<String>>,
    /// Variables that are seen; none: all of the phase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<String>>,
    /// The rule that says so.
    pub why: String,
    /// The file of the rule; empty for the built-in policy.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub file: String,
    /// Its line there, from 1.
    #[serde(default)]
    pub line: usize,
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

/// The cage of a classic element's hooks on one side, and the rule that says so: the tightest that a layer of the policy asks for.
///
/// Without a rule: `confined` outside, `strict` inside. Every level but `deny` means `strict` inside the target, where the tighter cage
/// works.
pub fn confinement_of(identity: &Identity, side: Side, policy: &Policy) -> Cage {
    let cages = policy.layers().map(|layer| cage_of_layer(identity, layer));
    let unruled = || Cage {
        level: Level::Confined,
        net: None,
        env: None,
        why: "default for classic elements".to_owned(),
        file: String::new(),
        line: 0,
    };
    let mut cage = cages.reduce(Cage::tightest).unwrap_or_else(unruled);
    let never = policy.files().flat_map(|file| &file.never).find(|rule| rule.what == Never::ClassicHost);
    if let Some(rule) = never
        && cage.level == Level::Host
    {
        cage.level = Level::Deny;
        cage.why = format!("{}, but never: classic host of {}:{}", cage.why, rule.file, rule.line);
    }
    match side {
        Side::Inside if cage.level != Level::Deny => Cage { level: Level::Strict, ..cage },
        Side::Inside | Side::Outside => cage,
    }
}

/// Rules for the element win over defaults; of several, the tightest.
fn cage_of_layer(identity: &Identity, layer: &Layer) -> Cage {
    let all = || layer.files().iter().flat_map(|f| f.classic.allow.iter().map(move |rule| (f, rule)));
    let named = || all().filter(|(_, rule)| rule.element == identity.id);
    let fits = |rule: &ClassicRule| rule.pin().mismatch(identity);
    let ruled = named().filter(|(_, rule)| fits(rule).is_none()).map(|(file, rule)| rule.cage(file));
    if let Some(cage) = ruled.reduce(Cage::tightest) {
        return cage;
    }
    let defaults = layer.files().iter().filter_map(|f| Some((f.classic.default?, f)));
    let tightest = defaults.min_by_key(|((level, _), _)| *level);
    let (level, mut why, file, line) = match tightest {
        Some(((level, line), file)) => {
            (level, format!("classic.default of {}:{line}", file.file), file.file.clone(), line)
        }
        None => (Level::Confined, "default for classic elements".to_owned(), String::new(), 0),
    };
    if let Some((file, rule, wrong)) = named().find_map(|(file, rule)| Some((file, rule, fits(rule)?))) {
        why.push_str(&format!("; classic.allow of {}:{} is {wrong}", file.file, rule.line));
    }
    Cage { level, net: None, env: None, why, file, line }
}

impl ClassicRule {
    fn pin(&self) -> Pin {
        self.tree.clone().map_or(Pin::Name, Pin::Tree)
    }

    fn cage(&self, file: &PolicyFile) -> Cage {
        let mut why = format!("classic.allow of {}:{}", file.file, self.line);
        if self.level == Level::Host {
            why.push_str(&format!(" ({}; {}, until {})", self.reason, self.owner, self.expires));
        }
        let (net, env) = (self.net.clone(), self.env.clone());
        Cage { level: self.level, net, env, why, file: file.file.clone(), line: self.line }
    }
}

impl Cage {
    /// The tighter of two; what both leave to a list is what is in both lists.
    fn tightest(self, other: Self) -> Self {
        let both = |one: &Option<Vec<String>>, two: &Option<Vec<String>>| match (one, two) {
            (Some(one), Some(two)) => Some(one.iter().filter(|name| two.contains(name)).cloned().collect()),
            (Some(only), None) | (None, Some(only)) => Some(only.clone()),
            (None, None) => None,
        };
        let env = both(&self.env, &other.env);
        // No list of origins is no network: so a layer without one leaves none.
        let net = match (&self.net, &other.net) {
            (Some(_), Some(_)) => both(&self.net, &other.net),
            (None, _) if self.level <= Level::Strict => None,
            (_, None) if other.level <= Level::Strict => None,
            (one, two) => one.clone().or_else(|| two.clone()),
        };
        let cage = if other.level < self.level { other } else { self };
        Cage { net, env, ..cage }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file;

    fn parsed(name: &str, classic: &str) -> PolicyFile {
        let text = format!("api: dibw/policy/v1\n{classic}");
        file::parse(name, &text, "2026-01-01").unwrap()
    }

    fn site(files: &[(&str, &str)]) -> Policy {
        Policy::of_site(files.iter().map(|(name, text)| parsed(name, text)).collect()).unwrap()
    }

    fn level(element: &str, side: Side, policy: &Policy) -> (Level, String) {
        let cage = confinement_of(&Identity::named(element), side, policy);
        (cage.level, cage.why)
    }

    #[test]
    fn built_in_policy() {
        let policy = Policy::default();
        let why = "default for classic elements".to_owned();
        assert_eq!(level("vm", Side::Outside, &policy), (Level::Confined, why.clone()));
        assert_eq!(level("vm", Side::Inside, &policy), (Level::Strict, why));
    }

    #[test]
    fn rules_of_a_file() {
        let text = "classic:\n  default: deny\n  allow:\n    - {element: raid, level: host, reason: losetup, owner: storage, expires: 2030-01-01}\n    - {element: vm, level: strict}\n";
        let policy = site(&[("p.yaml", text)]);
        let said = "classic.allow of p.yaml:5 (losetup; storage, until 2030-01-01)".to_owned();
        assert_eq!(level("raid", Side::Outside, &policy), (Level::Host, said.clone()));
        assert_eq!(level("raid", Side::Inside, &policy), (Level::Strict, said));
        let denied = (Level::Deny, "classic.default of p.yaml:3".to_owned());
        assert_eq!(level("base", Side::Inside, &policy), denied);
        assert_eq!(level("base", Side::Outside, &policy), denied);
        let strict = (Level::Strict, "classic.allow of p.yaml:6".to_owned());
        assert_eq!(level("vm", Side::Outside, &policy), strict);
        assert_eq!(level("vm", Side::Inside, &policy), strict);
    }

    #[test]
    fn the_tightest_of_several_files_wins() {
        let one = "classic: {default: confined, allow: [{element: vm, level: confined}]}\n";
        let two = "classic: {default: deny, allow: [{element: vm, level: strict}]}\n";
        let policy = site(&[("1.yaml", one), ("2.yaml", two)]);
        assert_eq!(level("base", Side::Outside, &policy).0, Level::Deny);
        assert_eq!(
            level("vm", Side::Outside, &policy),
            (Level::Strict, "classic.allow of 2.yaml:2".to_owned())
        );
        let narrowed =
            site(&[("1.yaml", one)]).narrowed_by(parsed("n.yaml", "classic: {default: deny}\n")).unwrap();
        assert_eq!(level("vm", Side::Outside, &narrowed).0, Level::Deny);
        let wider = site(&[("2.yaml", two)]).narrowed_by(parsed("n.yaml", one)).unwrap();
        assert_eq!(level("vm", Side::Outside, &wider).0, Level::Strict);
        assert_eq!(level("base", Side::Outside, &wider).0, Level::Deny);
    }

    #[test]
    fn a_rule_may_be_tied_to_a_tree() {
        let tree = "a".repeat(64);
        let text = format!(
            "classic: {{default: deny, allow: [{{element: vm, level: strict, tree: \"sha256:{tree}\"}}]}}\n"
        );
        let policy = site(&[("p.yaml", &text)]);
        let pinned = Identity { tree: Some(tree), ..Identity::named("vm") };
        assert_eq!(confinement_of(&pinned, Side::Inside, &policy).level, Level::Strict);
        let changed = Identity { tree: Some("b".repeat(64)), ..Identity::named("vm") };
        let cage = confinement_of(&changed, Side::Inside, &policy);
        assert_eq!(
            (cage.level, cage.why.as_str()),
            (
                Level::Deny,
                "classic.default of p.yaml:2; classic.allow of p.yaml:2 is for tree sha256:aaaaaaaaaaaa.., this is sha256:bbbbbbbbbbbb.."
            )
        );
    }

    #[test]
    fn origins_and_variables_are_what_all_layers_leave() {
        let wide = "classic: {allow: [{element: vm, level: strict, net: [{origin: \"https://a.example\"}, {origin: \"https://b.example\"}], env: [A, B]}]}\n";
        let narrow = "classic: {allow: [{element: vm, level: strict, net: [{origin: \"https://b.example\"}], env: [B, C]}]}\n";
        let cage = |policy: &Policy| confinement_of(&Identity::named("vm"), Side::Outside, policy);
        let both = site(&[("1.yaml", wide)]).narrowed_by(parsed("2.yaml", narrow)).unwrap();
        assert_eq!(cage(&both).net, Some(vec!["https://b.example".to_owned()]));
        assert_eq!(cage(&both).env, Some(vec!["B".to_owned()]));
        let without =
            site(&[("1.yaml", wide)]).narrowed_by(parsed("2.yaml", "classic: {default: strict}\n")).unwrap();
        assert_eq!(cage(&without).net, None);
        let looser = site(&[("1.yaml", wide)])
            .narrowed_by(parsed("2.yaml", "classic: {default: confined}\n"))
            .unwrap();
        assert_eq!(cage(&looser).net.map(|net| net.len()), Some(2));
        // The same the other way round.
        let base = |classic: &str| site(&[("1.yaml", classic)]).narrowed_by(parsed("2.yaml", wide)).unwrap();
        assert_eq!(cage(&base("classic: {default: strict}\n")).net, None);
        assert_eq!(cage(&base("classic: {default: confined}\n")).net.map(|net| net.len()), Some(2));
        assert_eq!(cage(&base("classic: {default: strict}\n")).why, "classic.default of 1.yaml:2");
    }

    #[test]
    fn never_holds_host_back() {
        let text = "never: [{classic: host}]\nclassic: {allow: [{element: raid, level: host, reason: a, owner: b, expires: 2030-01-01}]}\n";
        let policy = site(&[("p.yaml", text)]);
        let (level, why) = level("raid", Side::Outside, &policy);
        assert_eq!(level, Level::Deny);
        assert!(why.ends_with("but never: classic host of p.yaml:2"), "{why}");
    }
}
