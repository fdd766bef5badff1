//! What is found in policies, what is not, and the scores.

use super::*;
use crate::file;

fn policy(text: &str) -> Policy {
    let text = format!("api: dibw/policy/v1\n{text}");
    let parsed =
        file::parse("p.yaml", &text, "2026-01-01").unwrap_or_else(|faults| panic!("{faults:?}\n{text}"));
    Policy::of_site(vec![parsed]).unwrap()
}

fn granted(allow: &str) -> Policy {
    let digest = "a".repeat(64);
    policy(&format!(
        "grants: [{{element: {{id: e, digest: \"sha256:{digest}\"}}, allow: {{{allow}}}, i_understand: test}}]\n"
    ))
}

fn places(policy: &Policy) -> Vec<String> {
    check(policy, None).findings.iter().map(|finding| finding.place.clone()).collect()
}

#[test]
fn combinations_are_named_and_near_misses_are_not() {
    for (allow, expected) in [
        ("target.exec: [/usr/sbin/sshd -t], target.write: [/usr/sbin/**]", vec!["EXEC-WRITE"]),
        ("target.exec: [/opt/a/run], target.write: [/opt/**]", vec!["EXEC-WRITE"]),
        ("target.exec: [/opt/*/run], target.write: [/opt/a/run]", vec!["EXEC-WRITE"]),
        ("target.exec: [/opt/a/run], target.write: [/usr/local/bin/*]", vec!["EXEC-WRITE"]),
        ("target.exec: [/usr/sbin/sshd -t], target.write: [/etc/ssh/**]", vec![]),
        ("target.exec: [/bin/sh -c x]", vec!["EXEC-ANY"]),
        ("target.exec: [/usr/bin/python3.12 x]", vec!["EXEC-ANY"]),
        ("target.exec: [/usr/bin/*]", vec!["EXEC-ANY"]),
        ("target.exec: [/usr/bin/sha256sum x]", vec![]),
        ("net.fetch: [https://a.example/ none], target.exec: [/opt/x]", vec!["FETCH-ROOT"]),
        ("net.fetch: [https://a.example/ none], target.write_privileged: [cron]", vec!["FETCH-ROOT"]),
        ("net.fetch: [https://a.example/], target.exec: [/opt/x]", vec![]),
        ("host.input: [ca], net.fetch: [https://a.example/]", vec!["EXFILTRATION"]),
        ("secret.use: [k file /etc/k], net.fetch: [https://a.example/]", vec!["EXFILTRATION"]),
        ("host.input: [ca], target.write: [/etc/ca]", vec![]),
        ("packages.repo_add: [acme], packages.install: [curl]", vec!["REPOSITORY"]),
        ("packages.repo_add: [acme]", vec![]),
        ("service.set: [{enable: [x.service]}], target.write: [/etc/**]", vec!["UNIT-ROOT"]),
        (
            "service.set: [{enable: [x.service]}], target.write: [/etc/systemd/system/x.service]",
            vec!["UNIT-ROOT"],
        ),
        ("service.set: [{disable: [x.service]}], target.write: [/etc/**]", vec![]),
        ("service.set: [{enable: [x.service]}], target.write: [/etc/motd]", vec![]),
    ] {
        assert_eq!(places(&granted(allow)), expected, "{allow}");
    }
}

#[test]
fn grants_outside_the_ceiling() {
    let text = |ceiling: &str| {
        format!(
            "ceiling: {{{ceiling}}}\ngrants: [{{element: {{id: e, tree: \"sha256:{}\"}}, allow: {{target.write: [/etc/motd, /srv/**]}}}}]\n",
            "a".repeat(64)
        )
    };
    let report = check(&policy(&text("target.write: [/etc/**, /opt/**]")), None);
    assert_eq!(
        report.findings[0].to_string(),
        "ERROR  p.yaml:3 grants[0].allow.target.write[1] \"/srv/**\" lies outside the ceiling\n       note: ceiling.target.write allows /etc/**, /opt/**   p.yaml:2"
    );
    assert!(report.has_errors() && report.findings.len() == 1);
    let cut = check(&policy(&text("target.write: [/etc/**, /srv/a/**]")), None);
    assert!(cut.findings[0].message.contains("lies partly outside") && !cut.has_errors());
    let unnamed = check(&policy(&text("target.read: [/etc/**]")), None);
    assert_eq!(unnamed.findings[0].notes, ["note: the ceiling does not name target.write   p.yaml:2"]);
    assert!(check(&policy(&text("target.write: [/**]")), None).findings.is_empty());
}

#[test]
fn grants_that_are_tied_to_nothing_or_to_what_is_gone() {
    let installed = [Identity { digest: Some("b".repeat(64)), ..Identity::named("e") }];
    let named = check(&policy("grants: [{element: e, allow: {}}]\n"), Some(&installed));
    assert_eq!(named.findings[0].message, "grants[0] is for any element that is called `e`");
    let fix = format!("fix: element: {{id: e, digest: \"sha256:{}\"}}", "b".repeat(64));
    assert_eq!(named.findings[0].notes, [fix]);
    let gone = check(&granted("target.read: [/a]"), Some(&installed));
    assert_eq!(
        gone.findings[0].message,
        "grants[0] digest sha256:aaaaaaaaaaaa.. is not in any installed element (unused)"
    );
    assert!(check(&granted("target.read: [/a]"), None).findings.is_empty());
    let trust = "trust: {elements: {any_of: [{kind: keyless, issuer: i, subject: s}, {kind: unsigned, i_understand: mine}]}}\n";
    assert_eq!(places(&policy(trust)), ["p.yaml:2", "p.yaml:2"]);
}

#[test]
fn scores() {
    let of = |policy: &Policy, element: &str| {
        let report = check(policy, None);
        let found = report.exposures.iter().find(|exposure| exposure.element == element).cloned();
        let found = found.unwrap_or_else(|| panic!("{report:?}"));
        (format!("{:.1}", found.score()), found.factors[0].what.clone())
    };
    let quiet = "ceiling: {resources: {memory: 1GiB}}\nclassic: {default: deny}\n";
    let motd =
        policy(&format!("{quiet}grants: [{{element: e, allow: {{service.set: [enable motd.timer]}}}}]\n"));
    assert_eq!(of(&motd, "e"), ("0.3".to_owned(), "may enable motd.timer".to_owned()));
    assert_eq!(
        of(&motd, "classic elements without a rule"),
        ("0.0".to_owned(), "runs no shell, by default".to_owned())
    );
    let host = "classic: {default: deny, allow: [{element: raid, level: host, reason: a, owner: b, expires: 2030-01-01}]}\n";
    let report = check(&policy(host), None);
    assert_eq!(
        of(&policy(host), "classic raid (host)"),
        ("8.3".to_owned(), "HOST ROOT until 2030-01-01".to_owned())
    );
    assert_eq!((format!("{:.1}", report.overall()), band(report.overall())), ("8.3".to_owned(), "DANGEROUS"));
    let both = granted("secret.use: [k file /etc/k], net.fetch: [https://a.example/]");
    assert_eq!(of(&both, "e").1, "secrets and downloads together");
    for (score, word) in [(0.0, "OK"), (2.0, "MEDIUM"), (5.0, "EXPOSED"), (7.0, "DANGEROUS")] {
        assert_eq!(band(score), word);
    }
    assert_eq!(score(0), 0.0);
    assert!(score(1000) <= 10.0);
}
