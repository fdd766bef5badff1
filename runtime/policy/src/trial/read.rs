//! Files of policy tests: YAML text to a [`TrialFile`]. All problems at once, each with its line. Called by `dibw policy test`.

use super::{Case, Expectation, Trial, TrialFile};
use crate::capability::Capability;
use crate::confinement::Side;
use crate::identity::{Identity, parse_digest};
use crate::need::Need;
use crate::policy::PolicyFault;
use crate::question::Question;
use crate::yaml::{self, Node, YamlError};

/// Keys of `when` that are words of the question, in the order in which capabilities take them.
const WORDS: [&str; 13] = [
    "subject", "action", "kind", "name", "sink", "unit", "class", "path", "url", "origin", "checksum",
    "argv", "groups",
];

/// Parses a file of tests.
///
/// # Errors
/// Every problem in the file.
pub fn parse(file: &str, text: &str) -> Result<TrialFile, Vec<PolicyFault>> {
    let mut wrong = Vec::new();
    let parsed = match yaml::load_without_anchors(text) {
        Ok(root) => trial_file(&root, &mut wrong),
        Err(error) => {
            wrong.push(error);
            TrialFile::default()
        }
    };
    if wrong.is_empty() {
        return Ok(parsed);
    }
    let fault =
        |e: YamlError| PolicyFault { file: file.to_owned(), line: e.line, message: e.message, hint: e.hint };
    Err(wrong.into_iter().map(fault).collect())
}

fn trial_file(root: &Node, wrong: &mut Vec<YamlError>) -> TrialFile {
    wrong.extend(root.expect_keys(&["policy", "narrowed_by", "tests"]));
    let texts = |node: &Node| match node.as_text() {
        Some(text) => vec![text.to_owned()],
        None => items(node).iter().filter_map(Node::as_text).map(str::to_owned).collect(),
    };
    let mut trials = Vec::new();
    match root.get("tests").and_then(Node::as_sequence) {
        None => wrong.push(root.error("`tests` is missing, a list of tests")),
        Some(list) => {
            for item in list {
                match trial(item, wrong) {
                    Ok(trial) => trials.push(trial),
                    Err(error) => wrong.push(error),
                }
            }
        }
    }
    TrialFile {
        policy: root.get("policy").map(texts).unwrap_or_default(),
        narrowed_by: root.get("narrowed_by").and_then(Node::as_text).map(str::to_owned),
        trials,
    }
}

fn trial(item: &Node, wrong: &mut Vec<YamlError>) -> Result<Trial, YamlError> {
    let keys =
        ["name", "element", "tree", "signers", "needs", "when", "classic", "admit", "replay", "expect"];
    wrong.extend(item.expect_keys(&keys));
    let name = text(item, "name")?;
    let expect = expectation(item.get("expect").ok_or_else(|| item.error("`expect` is missing"))?)?;
    let case = match (item.get("replay"), item.get("classic"), item.get("admit"), item.get("when")) {
        (Some(log), None, None, None) => {
            let log = log.as_text().ok_or_else(|| log.error("the name of an audit log is expected here"))?;
            Case::Replay { log: log.to_owned() }
        }
        (None, Some(side), None, None) => {
            let side = match side.as_text() {
                Some("outside") => Side::Outside,
                Some("inside") => Side::Inside,
                _ => return Err(side.error("`classic` is `outside` or `inside`")),
            };
            Case::Classic { identity: identity(item)?, side }
        }
        (None, None, Some(_), None) => Case::Admit { identity: identity(item)? },
        (None, None, None, Some(when)) => Case::Ask {
            identity: identity(item)?,
            needs: item.get("needs").map(needs).transpose()?,
            question: question(when, wrong)?,
        },
        (_, _, _, _) => return Err(item.error("a test has one of `when`, `classic`, `admit`, `replay`")),
    };
    Ok(Trial { name, line: item.spot.line, case, expect })
}

/// `NAME` or `NAME@sha256:DIGEST`; `tree` and `signers` stand beside it.
fn identity(item: &Node) -> Result<Identity, YamlError> {
    let element = text(item, "element")?;
    let parse = |digest: &str| parse_digest(digest).map_err(|wrong| item.error(wrong));
    let (id, digest) = match element.split_once('@') {
        Some((id, digest)) => (id.to_owned(), Some(parse(digest)?)),
        None => (element, None),
    };
    let tree = item.get("tree").and_then(Node::as_text).map(parse).transpose()?;
    let signers =
        item.get("signers").map(|node| items(node).iter().filter_map(Node::as_text).map(str::to_owned));
    Ok(Identity { id, digest, tree, signers: signers.into_iter().flatten().collect() })
}

/// `[target.write /etc/motd, packages.install figlet]`
fn needs(node: &Node) -> Result<Vec<Need>, YamlError> {
    let need = |item: &Node| {
        let text = item.as_text().unwrap_or_default();
        let (capability, value) = text.split_once(' ').unwrap_or((text, ""));
        let capability = capability.parse::<Capability>();
        capability.and_then(|capability| Need::new(capability, value)).map_err(|wrong| item.error(wrong))
    };
    items(node).iter().map(need).collect()
}

fn question(when: &Node, wrong: &mut Vec<YamlError>) -> Result<Question, YamlError> {
    let keys: Vec<&str> = ["cap", "resolves"].into_iter().chain(WORDS).collect();
    wrong.extend(when.expect_keys(&keys));
    let capability: Capability = text(when, "cap")?.parse().map_err(|said: String| when.error(said))?;
    let mut words = Vec::new();
    for key in WORDS {
        let Some(node) = when.get(key) else { continue };
        match (node.as_text(), key) {
            (Some(text), "subject" | "argv") => words.extend(text.split_whitespace().map(str::to_owned)),
            (Some(text), _) => words.push(text.to_owned()),
            (None, _) => words.extend(items(node).iter().filter_map(Node::as_text).map(str::to_owned)),
        }
    }
    let mut addresses = Vec::new();
    for item in when.get("resolves").map(items).unwrap_or_default() {
        let address = item.as_text().and_then(|text| text.parse().ok());
        addresses.push(address.ok_or_else(|| item.error("an address is expected here"))?);
    }
    Ok(Question { capability, words, addresses })
}

/// `allow`, `deny`, `{deny: RULE-ID}`, `{denials: N}`, `{level: LEVEL}`
fn expectation(node: &Node) -> Result<Expectation, YamlError> {
    let shape = "`expect` is allow, deny, {deny: RULE-ID}, {denials: N} or {level: LEVEL}";
    match (node.as_text(), node.as_mapping()) {
        (Some("allow"), _) => Ok(Expectation::Allow),
        (Some("deny"), _) => Ok(Expectation::Deny(None)),
        (None, Some([only])) => {
            let text = only.value.as_text().ok_or_else(|| node.error(shape))?;
            match only.key.as_str() {
                "deny" => Ok(Expectation::Deny(Some(text.to_owned()))),
                "denials" => text.parse().map(Expectation::Denials).map_err(|_| node.error(shape)),
                "level" => text.parse().map(Expectation::Level).map_err(|said: String| node.error(said)),
                _ => Err(node.error(shape)),
            }
        }
        (_, _) => Err(node.error(shape)),
    }
}

fn text(node: &Node, key: &str) -> Result<String, YamlError> {
    let found = node.get(key).and_then(Node::as_text).filter(|text| !text.is_empty());
    found.map(str::to_owned).ok_or_else(|| node.error(format!("`{key}` is missing")))
}

fn items(node: &Node) -> &[Node] {
    node.as_sequence().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_has_its_line() {
        for (text, said) in [
            ("policy: x\n", "t.yaml:1: `tests` is missing, a list of tests"),
            ("tests:\n  - {name: a}\n", "t.yaml:2: `expect` is missing"),
            ("tests:\n  - {name: a, expect: maybe}\n", "t.yaml:2: `expect` is allow, deny, {deny: RULE-ID}"),
            ("tests:\n  - {name: a, expect: allow}\n", "t.yaml:2: a test has one of"),
            (
                "tests:\n  - {name: a, expect: allow, when: {cap: x, path: /x}}\n",
                "t.yaml:2: `element` is missing",
            ),
            (
                "tests:\n  - {name: a, element: e, expect: allow, when: {cap: x}}\n",
                "t.yaml:2: unknown capability `x`",
            ),
            (
                "tests:\n  - {name: a, element: e, expect: allow, when: {cap: log, pth: x}}\n",
                "t.yaml:2: unknown key `pth`\n  hint: did you mean `path`?",
            ),
            (
                "tests:\n  - {name: a, element: e@x, expect: allow, when: {cap: log}}\n",
                "t.yaml:2: `x` is not sha256:",
            ),
            ("tests:\n  - {name: a, element: e, classic: above, expect: allow}\n", "t.yaml:2: `classic` is"),
            (
                "tests:\n  - {name: a, element: e, when: {cap: net.fetch, resolves: [x]}, expect: allow}\n",
                "t.yaml:2: an address",
            ),
        ] {
            let faults = parse("t.yaml", text).unwrap_err();
            let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
            assert!(told.iter().any(|line| line.starts_with(said)), "{said}\n--- got ---\n{told:?}");
        }
    }
}
