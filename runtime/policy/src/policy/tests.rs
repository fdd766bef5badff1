//! Layers: what several files amount to, what a narrowing file may not do, what the command line counts for.

use super::*;
use crate::file::parse;
use crate::{Decision, Effective, Identity, Operation, decide};

fn read(name: &str, text: &str) -> PolicyFile {
    let text = format!("api: dibw/policy/v1\n{text}");
    parse(name, &text, "2026-01-01").unwrap_or_else(|faults| panic!("{faults:?}\n{text}"))
}

fn site(texts: &[&str]) -> Policy {
    let files = texts.iter().enumerate().map(|(index, text)| read(&format!("/p/{index}.yaml"), text));
    Policy::of_site(files.collect()).unwrap()
}

fn needs(texts: &[&str]) -> Vec<Need> {
    let need = |text: &&str| {
        let (capability, value) = text.split_once(' ').unwrap();
        Need::new(capability.parse().unwrap(), value).unwrap()
    };
    texts.iter().map(need).collect()
}

/// What `e` is answered when it writes a file and declares that it does.
fn written(path: &str, policy: &Policy, identity: &Identity, grants: &[Grant]) -> Decision {
    let needs = needs(&["target.write /**", "target.write_privileged *", "host.input *"]);
    let operation = Operation::WriteFile { path: path.to_owned(), mode: 0o644 };
    decide(&Effective::new(identity, &needs, policy, grants), &operation)
}

fn e() -> Identity {
    Identity::named("e")
}

#[test]
fn one_file_that_enforces_is_enough() {
    for (texts, mode) in [
        (&[][..], Mode::Enforce),
        (&["mode: audit\n"][..], Mode::Audit),
        (&["mode: audit\n", "mode: audit\n"][..], Mode::Audit),
        (&["mode: audit\n", "mode: enforce\n"][..], Mode::Enforce),
        (&["mode: audit\n", "name: x\n"][..], Mode::Enforce),
    ] {
        assert_eq!(site(texts).mode(), mode, "{texts:?}");
    }
    let narrowed = site(&["mode: audit\n"]).narrowed_by(read("n.yaml", "grants: []\n")).unwrap();
    assert_eq!(narrowed.mode(), Mode::Enforce);
}

#[test]
fn audit_mode_lets_through_what_files_refuse_but_not_never() {
    let audit = site(&["mode: audit\nnever: [{target.write: [/etc/shadow]}]\nceiling: {target.read: []}\n"]);
    assert!(matches!(written("/etc/motd", &audit, &e(), &[]), Decision::WouldDeny(_)));
    let Decision::Deny(denial) = written("/etc/shadow", &audit, &e(), &[]) else { panic!("allowed") };
    assert!(denial.rule.contains("never: target.write /etc/shadow of /p/0.yaml:3"), "{}", denial.rule);
    assert_eq!(denial.hint, "", "no line would help");
}

#[test]
fn grants_of_files_add_up_and_every_ceiling_must_reach() {
    let one = "grants: [{element: e, allow: {target.write: [/etc/a]}}]\n";
    let two = "grants: [{element: e, allow: {target.write: [/etc/b]}}]\nceiling: {target.write: [/etc/**]}\n";
    let low = "ceiling: {target.write: [/etc/a, /opt/**]}\n";
    let may = |path: &str, texts: &[&str]| written(path, &site(texts), &e(), &[]).is_allowed();
    assert!(may("/etc/a", &[one, two]) && may("/etc/b", &[one, two]) && !may("/etc/c", &[one, two]));
    assert!(may("/etc/a", &[one, two, low]) && !may("/etc/b", &[one, two, low]));
    let Decision::Deny(denial) = written("/etc/b", &site(&[one, two, low]), &e(), &[]) else {
        panic!("allowed")
    };
    assert_eq!(denial.rule, "target.write /etc/b is above the ceiling of /p/2.yaml");
    assert_eq!(denial.hint, "in /p/2.yaml: ceiling.target.write: [/etc/a, \"/opt/**\", /etc/b]");
}

#[test]
fn the_command_line_counts_over_the_built_in_policy_only() {
    let grant: Grant = "e:target.write=/etc/a".parse().unwrap();
    let file = "grants: []\n";
    let over_built_in = Policy::default().narrowed_by(read("n.yaml", file)).unwrap();
    assert!(!written("/etc/a", &over_built_in, &e(), &[]).is_allowed());
    assert!(written("/etc/a", &over_built_in, &e(), std::slice::from_ref(&grant)).is_allowed());
    assert_eq!(over_built_in.refuse_grant(&grant), None);
    let policy = site(&[file, file]);
    assert!(!written("/etc/a", &policy, &e(), std::slice::from_ref(&grant)).is_allowed());
    assert_eq!(
        policy.refuse_grant(&grant).unwrap(),
        (
            "--grant e:target.write=/etc/a: on this machine /p/0.yaml, 1.yaml alone decides what elements are granted".to_owned(),
            "in grants of /p/0.yaml: - {element: {id: e}, allow: {target.write: [/etc/a]}}".to_owned()
        )
    );
}

#[test]
fn a_site_grants_any_risk_and_the_built_in_policy_does_not() {
    let read_input = Operation::ReadInput { name: "ca".to_owned() };
    let decided = |policy: &Policy| {
        decide(&Effective::new(&e(), &needs(&["host.input ca"]), policy, &[]), &read_input).is_allowed()
    };
    let text = "grants: [{element: e, allow: {host.input: [ca]}}]\ninputs: {ca: {path: /ca}}\n";
    assert!(decided(&site(&[text])));
    assert!(!decided(&Policy::default()));
    assert!(!decided(&Policy::default().narrowed_by(read("n.yaml", text)).unwrap()));
}

#[test]
fn a_grant_for_other_bytes_does_not_count_and_says_so() {
    let digest = "a".repeat(64);
    let text = format!(
        "grants: [{{element: {{id: e, digest: \"sha256:{digest}\"}}, allow: {{target.write: [/etc/a]}}}}]\n"
    );
    let policy = site(&[&text]);
    let this = Identity { digest: Some(digest), ..e() };
    assert!(written("/etc/a", &policy, &this, &[]).is_allowed());
    let other = Identity { digest: Some("b".repeat(64)), ..e() };
    let Decision::Deny(denial) = written("/etc/a", &policy, &other, &[]) else { panic!("allowed") };
    assert_eq!(
        denial.rule,
        "granted for digest sha256:aaaaaaaaaaaa.., this is sha256:bbbbbbbbbbbb.. (/p/0.yaml:2)"
    );
    let pinned = format!("in /p/0.yaml: grants[0].element: {{id: e, digest: \"sha256:{}\"}}", "b".repeat(64));
    assert_eq!(denial.hint, pinned);
    // Where that grant would not help either, a new one is proposed.
    let Decision::Deny(denial) = written("/etc/b", &policy, &other, &[]) else { panic!("allowed") };
    assert!(
        denial.hint.starts_with("in /p/0.yaml: grants[1]: {element: {id: e, digest: "),
        "{}",
        denial.hint
    );
}

#[test]
fn nothing_wider_than_what_was_asked_is_proposed() {
    let policy = site(&["grants: []\n"]);
    for path in ["/etc/*", "/**", "/etc/a?"] {
        let Decision::Deny(denial) = written(path, &policy, &e(), &[]) else { panic!("allowed") };
        assert_eq!(denial.hint, "", "{path}");
    }
    let Decision::Deny(denial) = written("/etc/a", &policy, &e(), &[]) else { panic!("allowed") };
    assert!(denial.hint.contains("target.write: [/etc/a]"), "{}", denial.hint);
}

#[test]
fn needs_are_refused_before_anything_runs() {
    let wanted = needs(&["target.write /etc/a", "packages.install curl"]);
    let refused = |policy: &Policy| -> Vec<String> {
        let effective = Effective::new(&e(), &wanted, policy, &[]);
        effective
            .refused_needs()
            .iter()
            .map(|denial| format!("{} {}", denial.capability, denial.rule))
            .collect()
    };
    assert_eq!(refused(&Policy::default()), Vec::<String>::new());
    let half = site(&[
        "grants: [{element: e, allow: {target.write: [/etc/b]}}]\nceiling: {target.write: [/etc/**]}\n",
    ]);
    assert_eq!(
        refused(&half),
        [
            "packages.install /p/0.yaml does not grant packages.install curl to `e`; packages.install curl is above the ceiling of /p/0.yaml"
        ]
    );
    assert_eq!(refused(&site(&["mode: audit\n"])), Vec::<String>::new());
}

#[test]
fn risk_is_refused_before_anything_runs_where_nobody_granted_it() {
    let wanted = needs(&["host.env SITE_*", "host.input ca", "packages.install curl"]);
    let refused = |policy: &Policy, grants: &[&str]| -> Vec<String> {
        let grants: Vec<Grant> = grants.iter().map(|text| text.parse().unwrap()).collect();
        let effective = Effective::new(&e(), &wanted, policy, &grants);
        effective.refused_needs().iter().map(|denial| denial.hint.clone()).collect()
    };
    let built_in = Policy::default();
    assert_eq!(
        refused(&built_in, &[]),
        [
            "on the command line: --grant 'e:host.env=SITE_*'",
            "on the command line: --grant 'e:host.input=ca'"
        ]
    );
    // Granted in part is not refused as a whole; what goes beyond is, when it is asked for.
    assert_eq!(refused(&built_in, &["e:host.env=SITE_A", "e:host.input=*"]), Vec::<String>::new());
    assert_eq!(refused(&built_in, &["f:host.env=SITE_A", "e:host.input=cb"]).len(), 2);
    let all =
        "grants: [{element: e, allow: {host.env: [SITE_A], host.input: [ca], packages.install: [curl]}}]\n";
    assert_eq!(refused(&site(&[all]), &[]), Vec::<String>::new(), "a site grants any risk");
    let narrowed = Policy::default().narrowed_by(read("n.yaml", all)).unwrap();
    assert_eq!(refused(&narrowed, &[]).len(), 2, "a file over the built-in policy does not");
    assert_eq!(refused(&narrowed, &["e:host.env=SITE_A", "e:host.input=ca"]), Vec::<String>::new());
    // In audit mode the risk still stops a build.
    let audit = Policy::default().narrowed_by(read("n.yaml", "mode: audit\n")).unwrap();
    assert_eq!(refused(&audit, &[]).len(), 2);
    assert_eq!((Effective::new(&e(), &wanted, &audit, &[]).mode(), audit.mode()), (Mode::Audit, Mode::Audit));
    let effective = Effective::new(&e(), &wanted, &audit, &[]);
    assert_eq!(
        (effective.element(), effective.needs(), effective.identity()),
        ("e", wanted.as_slice(), &e())
    );
}

#[test]
fn every_gate_answers_with_its_reason() {
    let explained = |policy: &Policy, grants: &[Grant], path: &str| -> Vec<String> {
        let effective = Effective::new(&e(), &needs(&["target.write /**"]), policy, grants);
        let operation = Operation::WriteFile { path: path.to_owned(), mode: 0o644 };
        let crate::Explanation::Judged { verdicts, .. } = crate::explain(&effective, &operation) else {
            panic!("not judged")
        };
        let answers = verdicts.iter().flat_map(|verdict| &verdict.answers);
        answers
            .map(|a| format!("{} {} {}", a.gate.name(), if a.passed { "yes" } else { "no" }, a.reason))
            .collect()
    };
    let grant: Grant = "e:target.write=/a".parse().unwrap();
    assert_eq!(
        explained(&Policy::default(), &[], "/a"),
        ["needs yes needs target.write /**", "grant yes granted by default"]
    );
    assert_eq!(
        explained(&Policy::default(), std::slice::from_ref(&grant), "/a"),
        ["needs yes needs target.write /**", "grant yes --grant e:target.write=/a"]
    );
    let narrowed = Policy::default().narrowed_by(read("n.yaml", "ceiling: {target.write: [/b]}\n")).unwrap();
    assert_eq!(
        explained(&narrowed, std::slice::from_ref(&grant), "/a"),
        [
            "needs yes needs target.write /**",
            "grant yes --grant e:target.write=/a",
            "ceiling no target.write /a is above the ceiling of n.yaml"
        ]
    );
    assert_eq!(
        explained(&narrowed, &[], "/b"),
        [
            "needs yes needs target.write /**",
            "grant no n.yaml does not grant target.write /b to `e`",
            "ceiling yes below the ceiling target.write /b"
        ]
    );
}

#[test]
fn what_is_wrong_between_files() {
    let told = |texts: &[&str]| -> Vec<String> {
        let files = texts.iter().enumerate().map(|(index, text)| read(&format!("{index}.yaml"), text));
        Policy::of_site(files.collect())
            .unwrap_err()
            .iter()
            .map(|fault| format!("{}:{} {}", fault.file, fault.line, fault.message))
            .collect()
    };
    let publisher = "grants: [{element: {id: e, publisher: team}, allow: {}}]\n";
    assert_eq!(told(&[publisher]), ["0.yaml:2 publisher `team` is not a key of trust.elements"]);
    let trust = "trust: {elements: {any_of: [{kind: key, name: team, key: /k}]}}\n";
    assert!(
        Policy::of_site(vec![read("a", publisher), read("b", trust)]).is_ok(),
        "another file knows the key"
    );
    let input = "inputs: {ca: {path: /ca}}\nsecrets: {k: {env: K}}\n";
    assert_eq!(
        told(&[input, input]),
        ["1.yaml:2 inputs.ca is also in 0.yaml", "1.yaml:3 secrets.k is also in 0.yaml"]
    );
    let faults = site(&["grants: []\n"]).narrowed_by(read("n.yaml", input)).unwrap_err();
    assert_eq!(faults.len(), 2, "{faults:?}");
    let alone = Policy::default().narrowed_by(read("n.yaml", input)).unwrap();
    assert_eq!((alone.inputs()["ca"].path.as_str(), alone.secrets().len()), ("/ca", 1));
}

#[test]
fn settings_of_several_files() {
    let policy = site(&[
        "ceiling: {resources: {memory: 2GiB}}\nenvironment: {exports: [\"DIB_*\", A]}\ncheck: {fail_on: 8}\naudit: {log: /a}\n",
        "ceiling: {resources: {memory: 1GiB, pids: 5}}\nenvironment: {exports: [\"DIB_X*\", A], functions: drop}\ncheck: {fail_on: 6}\n",
    ]);
    assert_eq!((policy.resources().memory, policy.resources().pids), (Some(1 << 30), Some(5)));
    assert_eq!(["DIB_X", "DIB_Y", "A", "B"].map(|name| policy.exports(name)), [true, false, true, false]);
    assert_eq!((policy.drops_functions(), policy.fail_on(), policy.audit_logs()), (true, 6.0, vec!["/a"]));
    // Resources alone are no ceiling for rights.
    assert!(policy.files().all(|file| file.ceiling.as_ref().is_some_and(|ceiling| ceiling.rules.is_none())));
    let built_in = Policy::default();
    assert!(built_in.exports("B") && !built_in.drops_functions() && built_in.is_built_in());
    assert_eq!((built_in.label().as_str(), built_in.digest().as_str()), ("the built-in policy", "built-in"));
    assert_eq!((policy.label().as_str(), policy.digest().len()), ("/p/0.yaml, 1.yaml", 64));
    let narrowed = policy.narrowed_by(read("n.yaml", "")).unwrap();
    assert_eq!(narrowed.label(), "/p/0.yaml, 1.yaml and n.yaml");
    assert!(!narrowed.is_built_in() && narrowed.site().is_some());
}
