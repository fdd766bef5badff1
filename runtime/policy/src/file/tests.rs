//! Policy files: what is read, and every way of getting one wrong.

use super::*;

const TODAY: &str = "2026-11-21";

fn problems(text: &str) -> Vec<String> {
    parse("p.yaml", text, TODAY).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn a_whole_policy() {
    let text = r#"
api: dibw/policy/v1
name: prod
mode: audit
on_no_match: deny
classic:
  default: strict
  allow:
    - {element: raid, level: host, reason: losetup, owner: storage, expires: 2030-01-01}
    - {element: vm, level: confined}
ceiling:
  target.write: ["/etc/**"]
  service.set: [{enable: ["*"], mask: [x.service]}]
grants:
  - element: {id: motd}
    allow:
      target.write: ["/etc/motd"]
      service.set: ["enable motd.timer"]
"#;
    let policy = parse("p.yaml", text, TODAY).unwrap();
    assert_eq!((policy.name.as_str(), policy.mode), ("prod", Mode::Audit));
    assert_eq!(policy.classic.default, Some(Level::Strict));
    assert_eq!(policy.classic.allow[0].expires, "2030-01-01");
    let shown = |rules: &[Rule]| rules.iter().map(|r| format!("{} :{}", r.need, r.line)).collect::<Vec<_>>();
    assert_eq!(
        shown(policy.ceiling.as_deref().unwrap()),
        ["target.write /etc/** :12", "service.set enable * :13", "service.set mask x.service :13"]
    );
    assert_eq!(policy.grants[0].element, "motd");
    assert_eq!(
        shown(&policy.grants[0].allow),
        ["target.write /etc/motd :17", "service.set enable motd.timer :18"]
    );
}

#[test]
fn every_problem_has_its_line() {
    let cases: [(&str, &[&str]); 14] = [
        ("name: x\n", &["p.yaml:1: `api: dibw/policy/v1` is missing"]),
        (
            "api: dibw/policy/v2\n",
            &["p.yaml:1: api `dibw/policy/v2` is not known; this version reads `dibw/policy/v1`"],
        ),
        (
            "api: dibw/policy/v1\nmoed: audit\n",
            &["p.yaml:2: unknown key `moed`\n  hint: did you mean `mode`?"],
        ),
        ("api: dibw/policy/v1\nmode: permissive\n", &["p.yaml:2: `mode` is `enforce` or `audit`"]),
        ("api: dibw/policy/v1\non_no_match: allow\n", &["p.yaml:2: `on_no_match` can only be `deny`"]),
        (
            "api: dibw/policy/v1\nlegacy: {default: deny}\n",
            &["p.yaml:2: unknown key `legacy`\n  hint: this version calls it `classic`"],
        ),
        (
            "api: dibw/policy/v1\ntrust: {}\n",
            &["p.yaml:2: `trust` is not supported yet by this version of dibw"],
        ),
        (
            "api: dibw/policy/v1\nceiling:\n  fs.post: [seal]\n",
            &["p.yaml:3: `fs.post` is not a capability: file systems are finished by the runtime alone"],
        ),
        (
            "api: dibw/policy/v1\nceiling:\n  target.wirte: []\n",
            &["p.yaml:3: unknown capability `target.wirte`; did you mean `target.write`?"],
        ),
        (
            "api: dibw/policy/v1\ngrants:\n  - element: {id: a, digest: x}\n    allow: {target.write: [etc]}\n",
            &[
                "p.yaml:3: `digest` is not supported yet by this version of dibw",
                "p.yaml:4: target.write: `etc` is not an absolute path",
            ],
        ),
        (
            "api: dibw/policy/v1\nclassic: {default: host}\n",
            &[
                "p.yaml:2: `host` cannot be the default\n  hint: list the elements under `classic.allow`, each with reason, owner and expires",
            ],
        ),
        (
            "api: dibw/policy/v1\nclassic:\n  allow:\n    - {element: raid, level: host}\n",
            &["p.yaml:4: level `host` needs `reason`, `owner` and `expires`"],
        ),
        (
            "api: dibw/policy/v1\nclassic:\n  allow:\n    - {element: raid, level: host, reason: a, owner: b, expires: 2026-11-20}\n",
            &[
                "p.yaml:4: the exception for `raid` expired on 2026-11-20\n  hint: remove the exception for `raid` or agree on a new date",
            ],
        ),
        ("api: dibw/policy/v1\ngrants: yes\n", &["p.yaml:2: a list is expected here, not a boolean"]),
    ];
    for (text, expected) in cases {
        assert_eq!(problems(text), expected, "{text}");
    }
}

#[test]
fn duplicate_keys_and_broken_yaml_are_refused() {
    assert_eq!(problems("api: dibw/policy/v1\nname: a\nname: b\n").len(), 1);
    assert_eq!(problems("api: [dibw\n").len(), 1);
    assert!(!problems("").is_empty());
}
