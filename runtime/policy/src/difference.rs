//! `dibw policy diff`: what a new policy hands out that the old one did not, and the other way round.
//!
//! Must not know: files. Callers: `dibw policy diff`.

use std::collections::BTreeSet;

use crate::confinement::Level;
use crate::identity::{Pin, short};
use crate::need::Need;
use crate::policy::{Mode, Policy};
use crate::trust::{Trust, TrustKind};

/// One thing that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whether more is possible than before.
    pub widens: bool,
    /// What, in a line.
    pub what: String,
}

/// Everything that differs, what widens first.
pub fn difference(old: &Policy, new: &Policy) -> Vec<Change> {
    let mut changes = Vec::new();
    if old.mode() != new.mode() {
        let word = |mode: Mode| if mode == Mode::Enforce { "enforce" } else { "audit" };
        let what = format!("mode: {} -> {}", word(old.mode()), word(new.mode()));
        changes.push(Change { widens: new.mode() == Mode::Audit, what });
    }
    changes.extend(rights(&granted(old), &granted(new)));
    changes.extend(ceilings(old, new));
    changes.extend(sets(&never(old), &never(new), false));
    changes.extend(sets(&trusted(old), &trusted(new), true));
    changes.extend(classic(old, new));
    let (resources, before) = (new.resources(), old.resources());
    if resources != before {
        let tighter = before.tightest(resources) == resources;
        changes.push(Change { widens: !tighter, what: format!("resources: {before:?} -> {resources:?}") });
    }
    changes.sort_by_key(|change| !change.widens);
    changes
}

/// Grants with whom they are for.
fn granted(policy: &Policy) -> Vec<(String, Need)> {
    let grants = policy.files().flat_map(|file| &file.grants);
    let all = grants.flat_map(|grant| {
        let to = match &grant.pin {
            Pin::Name => grant.element.clone(),
            Pin::Digest(digest) => format!("{}@{}", grant.element, short(digest)),
            Pin::Tree(tree) => format!("{} (tree {})", grant.element, short(tree)),
            Pin::Publisher(name) => format!("{} by {name}", grant.element),
        };
        grant.allow.iter().map(move |rule| (to.clone(), rule.need.clone()))
    });
    all.collect()
}

/// A right that another of the same element covers is none of its own.
fn rights(old: &[(String, Need)], new: &[(String, Need)]) -> Vec<Change> {
    let beyond = |these: &[(String, Need)], those: &[(String, Need)], widens: bool, word: &str| {
        let covered = |(to, need): &&(String, Need)| {
            those.iter().any(|(other, known)| other == to && known.contains(need))
        };
        let new = these.iter().filter(|right| !covered(right));
        new.map(|(to, need)| Change { widens, what: format!("{word} {to}: {need} (risk {})", need.risk()) })
            .collect::<Vec<_>>()
    };
    [beyond(new, old, true, "granted to"), beyond(old, new, false, "no longer granted to")].concat()
}

fn ceilings(old: &Policy, new: &Policy) -> Vec<Change> {
    let rules = |policy: &Policy| -> Option<Vec<(String, Need)>> {
        let all: Vec<_> = policy.files().filter_map(|file| file.ceiling.as_ref()?.rules.as_ref()).collect();
        let needs = all.iter().copied().flatten().map(|rule| ("ceiling".to_owned(), rule.need.clone()));
        (!all.is_empty()).then(|| needs.collect())
    };
    match (rules(old), rules(new)) {
        (None, None) => Vec::new(),
        (Some(_), None) => vec![Change { widens: true, what: "there is no ceiling any more".to_owned() }],
        (None, Some(_)) => vec![Change { widens: false, what: "there is a ceiling now".to_owned() }],
        (Some(before), Some(after)) => {
            let changes = rights(&before, &after).into_iter();
            let named = |change: Change| Change {
                what: change
                    .what
                    .replace("no longer granted to ceiling", "ceiling lowered")
                    .replace("granted to ceiling", "ceiling raised"),
                ..change
            };
            changes.map(named).collect()
        }
    }
}

fn never(policy: &Policy) -> BTreeSet<String> {
    policy.files().flat_map(|file| &file.never).map(|rule| format!("never {}", rule.shown())).collect()
}

fn trusted(policy: &Policy) -> BTreeSet<String> {
    let sections: Vec<&Trust> = policy.files().filter_map(|file| file.trust.as_ref()).collect();
    let shown = |kind: &TrustKind| match kind {
        TrustKind::Key { name, path } => format!("trust in key {name} ({path})"),
        TrustKind::Keyless { issuer, subject } => format!("trust in {subject} of {issuer}"),
        TrustKind::Unsigned { .. } => "trust in unsigned elements".to_owned(),
    };
    let mut all: BTreeSet<String> =
        sections.iter().flat_map(|trust| &trust.any_of).map(|entry| shown(&entry.kind)).collect();
    if sections.is_empty() {
        all.insert("trust in unsigned elements".to_owned());
    }
    all
}

/// `more`: whether an entry hands something out.
fn sets(old: &BTreeSet<String>, new: &BTreeSet<String>, more: bool) -> Vec<Change> {
    let change = |widens: bool, sign: char, what: &String| Change { widens, what: format!("{sign} {what}") };
    let added = new.difference(old).map(|what| change(more, '+', what));
    let removed = old.difference(new).map(|what| change(!more, '-', what));
    added.chain(removed).collect()
}

fn classic(old: &Policy, new: &Policy) -> Vec<Change> {
    use crate::confinement::{Side, confinement_of};
    let named = |policy: &Policy| -> BTreeSet<String> {
        policy.files().flat_map(|file| &file.classic.allow).map(|rule| rule.element.clone()).collect()
    };
    let mut elements: BTreeSet<String> = named(old).union(&named(new)).cloned().collect();
    elements.insert("*".to_owned());
    let level = |element: &str, policy: &Policy| -> (Level, Option<usize>) {
        // Rules that are tied to a tree are compared as if the tree were there.
        let rules =
            policy.files().flat_map(|file| &file.classic.allow).filter(|rule| rule.element == element);
        let tree = rules.filter_map(|rule| rule.tree.clone()).next();
        let identity = crate::Identity { tree, ..crate::Identity::named(element) };
        let cage = confinement_of(&identity, Side::Outside, policy);
        (cage.level, cage.net.map(|net| net.len()))
    };
    let changes = elements.iter().filter_map(|element| {
        let (before, after) = (level(element, old), level(element, new));
        let shown = if element == "*" { "elements without a rule" } else { element };
        let net = |origins: Option<usize>| origins.map(|n| format!(" with {n} origins")).unwrap_or_default();
        (before != after).then(|| Change {
            widens: after.0 > before.0 || (after.0 == before.0 && after.1 > before.1),
            what: format!("classic {shown}: {}{} -> {}{}", before.0, net(before.1), after.0, net(after.1)),
        })
    });
    changes.collect()
}
