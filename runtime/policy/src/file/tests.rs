//! Policy files: what is read, and every way of getting one wrong.

use super::*;
use crate::confinement::Level;
use crate::settings::SecretSource;
use crate::trust::TrustKind;

const TODAY: &str = "2026-11-21";

fn problems(text: &str) -> Vec<String> {
    parse("p.yaml", text, TODAY).unwrap_err().iter().map(ToString::to_string).collect()
}

fn shown(rules: &[Rule]) -> Vec<String> {
    rules.iter().map(|r| format!("{} :{} {}", r.need, r.line, r.key)).collect()
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
    - {element: vm, level: strict, net: [{origin: "https://deb.debian.org"}], env: [DIB_X]}
ceiling:
  target.write: ["/etc/**"]
  service.set: [{enable: ["*"], mask: [x.service]}]
  net.fetch:
    - {origin: "https://mirror.example", path: /pool/, sha256: tofu}
    - https://b.example/
  resources: {memory: 2GiB, pids: 512, wall: 20m, net_bytes: 4GiB}
grants:
  - element: {id: motd}
    allow:
      target.write: ["/etc/motd"]
      service.set: ["enable motd.timer"]
      cache.rw: 64MiB
      secret.use: [{name: token, header: "https://b.example"}]
"#;
    let policy = parse("p.yaml", text, TODAY).unwrap();
    assert_eq!((policy.name.as_str(), policy.mode), ("prod", Mode::Audit));
    assert_eq!(policy.classic.default, Some((Level::Strict, 7)));
    assert_eq!(policy.classic.allow[0].expires, "2030-01-01");
    assert_eq!(policy.classic.allow[1].net.as_deref().unwrap(), ["https://deb.debian.org"]);
    let ceiling = policy.ceiling.unwrap();
    assert_eq!(
        shown(ceiling.rules.as_deref().unwrap()),
        [
            "target.write /etc/** :12 ceiling.target.write[0]",
            "service.set enable * :13 ceiling.service.set[0]",
            "service.set mask x.service :13 ceiling.service.set[1]",
            "net.fetch https://mirror.example/pool/ first-use :15 ceiling.net.fetch[0]",
            "net.fetch https://b.example/ :16 ceiling.net.fetch[1]",
        ]
    );
    let limits = Resources {
        memory: Some(2 << 30),
        pids: Some(512),
        wall: Some(1200),
        net_bytes: Some(4 << 30),
        disk: None,
    };
    assert_eq!(ceiling.resources, limits);
    assert_eq!(policy.grants[0].element, "motd");
    assert_eq!(
        shown(&policy.grants[0].allow),
        [
            "target.write /etc/motd :21 grants[0].allow.target.write[0]",
            "service.set enable motd.timer :22 grants[0].allow.service.set[0]",
            "cache.rw 64MiB :23 grants[0].allow.cache.rw[0]",
            "secret.use token header https://b.example :24 grants[0].allow.secret.use[0]",
        ]
    );
}

#[test]
fn trust_and_settings() {
    let digest = "a".repeat(64);
    let text = format!(
        r#"
api: dibw/policy/v1
trust:
  elements:
    any_of:
      - {{kind: key, key: /etc/dibw/keys/platform-team.pub}}
      - {{kind: key, name: sec, key: /etc/dibw/keys/b.pub}}
      - {{kind: keyless, issuer: https://x, subject: y}}
      - {{kind: unsigned, i_understand: mine}}
    require_distinct_signers: 2
never:
  - classic: host
  - host.input: "*"
  - host.env: [SITE_TOKEN]
  - net.fetch: {{to: [private, loopback]}}
grants:
  - {{element: {{id: a, digest: "sha256:{digest}"}}, allow: {{host.input: [site-ca]}}}}
  - {{element: {{id: b, publisher: platform-team}}, allow: {{target.write: ["/**"]}}, i_understand: all of it}}
inputs:
  site-ca: {{path: /etc/pki/ca.pem, max_bytes: 64KiB}}
secrets:
  token: {{env: TOKEN}}
  key: {{path: /etc/key}}
repositories:
  acme: {{url: "https://deb.acme.example", key: /etc/acme.gpg, suites: [stable], components: [main]}}
audit: {{log: /var/log/dibw/audit.jsonl, chain: true, on_write_failure: abort}}
environment: {{evaluate: once, exports: ["DIB_*", ARCH], functions: drop}}
check: {{fail_on: 6.5}}
"#
    );
    let policy = parse("p.yaml", &text, TODAY).unwrap();
    let trust = policy.trust.clone().unwrap();
    assert_eq!(trust.distinct_signers, Some(2));
    assert_eq!(trust.key_names().collect::<Vec<_>>(), ["platform-team", "sec"]);
    assert!(matches!(&trust.any_of[3].kind, TrustKind::Unsigned { reason } if reason == "mine"));
    let never: Vec<String> =
        policy.never.iter().map(|rule| format!("{} :{}", rule.shown(), rule.line)).collect();
    let addresses = ["net.fetch to private addresses :15", "net.fetch to loopback addresses :15"];
    assert_eq!(never[..3], ["classic host :12", "host.input * :13", "host.env SITE_TOKEN :14"]);
    assert_eq!(never[3..], addresses);
    assert_eq!(policy.grants[0].pin, Pin::Digest(digest));
    assert_eq!(policy.grants[1].pin, Pin::Publisher("platform-team".to_owned()));
    let settings = &policy.settings;
    assert_eq!(settings.inputs["site-ca"].max_bytes, 65_536);
    assert_eq!(settings.secrets["token"].source, SecretSource::Variable("TOKEN".to_owned()));
    assert_eq!(settings.repositories["acme"].key, "/etc/acme.gpg");
    assert_eq!(settings.audit_log.as_deref(), Some("/var/log/dibw/audit.jsonl"));
    assert_eq!((settings.drop_functions, settings.fail_on), (true, Some(6.5)));
}

#[test]
fn every_problem_has_its_line() {
    let cases: [(&str, &[&str]); 34] = [
        ("name: x\n", &["1: `api: dibw/policy/v1` is missing"]),
        (
            "api: dibw/policy/v2\n",
            &["1: api `dibw/policy/v2` is not known; this version reads `dibw/policy/v1`"],
        ),
        ("+moed: audit\n", &["2: unknown key `moed`\n  hint: did you mean `mode`?"]),
        ("+mode: permissive\n", &["2: `mode` is `enforce` or `audit`"]),
        ("+on_no_match: allow\n", &["2: `on_no_match` can only be `deny`"]),
        ("+legacy: {default: deny}\n", &["2: unknown key `legacy`\n  hint: this version calls it `classic`"]),
        (
            "+trust: {base_images: {require: sha256}}\n",
            &["2: `base_images` is not supported yet by this version of dibw"],
        ),
        ("+trust: {elements: {any_of: [{kind: key}]}}\n", &["2: `key` is missing"]),
        (
            "+trust: {elements: {any_of: [{kind: key, key: x.pub}]}}\n",
            &["2: `key: x.pub` is not an absolute path"],
        ),
        ("+trust: {elements: {any_of: [{kind: unsigned}]}}\n", &["2: `i_understand` is missing"]),
        (
            "+trust: {elements: {any_of: [{kind: magic}]}}\n",
            &["2: `magic` is not one of key, keyless, unsigned"],
        ),
        (
            "+trust: {elements: {any_of: [{kind: key, key: /a}], require_distinct_signers: 2}}\n",
            &["2: 2 signers are asked for, and 1 keys are given"],
        ),
        (
            "+ceiling:\n  fs.post: [seal]\n",
            &["3: `fs.post` is not a capability: file systems are finished by the runtime alone"],
        ),
        (
            "+ceiling:\n  target.wirte: []\n",
            &["3: unknown capability `target.wirte`; did you mean `target.write`?"],
        ),
        (
            "+ceiling: {packages.install: {repos: [a], names: [b]}}\n",
            &[
                "2: `repos` is not enforced by this version of dibw, so it is refused\n  hint: list the packages under `names`; which repositories exist is `packages.repo_add`",
            ],
        ),
        (
            "+ceiling: {resources: {memory: 2GB}}\n",
            &["2: `2GB` is not a size like 512, 64KiB, 100MiB or 2GiB"],
        ),
        ("+ceiling: {resources: {wall: 20}}\n", &["2: `20` is not a time like 90s, 20m or 2h"]),
        (
            "+ceiling: {resources: {cpus: 2}}\n",
            &["2: unknown key `cpus`\n  hint: known keys: memory, pids, wall, net_bytes, disk"],
        ),
        (
            "+grants:\n  - element: {id: a, digest: x}\n    allow: {target.write: [etc]}\n",
            &[
                "3: `x` is not sha256: and 64 lower-case hexadecimal digits",
                "4: target.write: `etc` is not an absolute path",
            ],
        ),
        ("+grants: [{element: {publisher: x}}]\n", &["2: `id` is missing"]),
        (
            "+grants:\n  - element: a\n    allow:\n      target.write:\n        - /**\n",
            &[
                "6: target.write /** in grants[0].allow.target.write[0] grants everything there is\n  hint: name what `a` needs, or add `i_understand: \"why\"` beside `allow`",
            ],
        ),
        (
            "+classic: {default: host}\n",
            &[
                "2: `host` cannot be the default\n  hint: list the elements under `classic.allow`, each with reason, owner and expires",
            ],
        ),
        (
            "+classic:\n  allow:\n    - {element: raid, level: host}\n",
            &["4: level `host` needs `reason`, `owner` and `expires`"],
        ),
        (
            "+classic:\n  allow:\n    - {element: raid, level: host, reason: a, owner: b, expires: 2026-11-20}\n",
            &[
                "4: the exception for `raid` expired on 2026-11-20\n  hint: remove the exception for `raid` or agree on a new date",
            ],
        ),
        (
            "+classic: {allow: [{element: a, level: strict, expires: 2026-13-01}]}\n",
            &["2: `expires: 2026-13-01` is not a date like 2030-12-31"],
        ),
        (
            "+classic: {allow: [{element: a, level: confined, net: []}]}\n",
            &[
                "2: `net` is for level `strict`, not `confined`\n  hint: leave `net` out, or say `level: strict`",
            ],
        ),
        (
            "+classic: {allow: [{element: a, level: strict, net: [{origin: \"https://a/b\"}]}]}\n",
            &["2: `https://a/b` is not an origin like https://deb.debian.org"],
        ),
        ("+grants: yes\n", &["2: a list is expected here, not a boolean"]),
        ("+never: [{classic: strict}]\n", &["2: of `classic`, only `host` can be under `never`"]),
        (
            "+secrets: {a: {}}\nrepositories: {b: {key: /k}}\n",
            &["2: a secret has either `path` or `env`", "3: a repository has either `url` or `line`"],
        ),
        (
            "+inputs: {\"a b\": {path: /x}}\n",
            &["2: `a b` is not a name of letters, digits, `-`, `_` and `.`"],
        ),
        ("+audit: {chain: false}\n", &["2: `chain` can only be `true`"]),
        ("+environment: {evaluate: always}\n", &["2: `evaluate` can only be `once`"]),
        ("+check: {fail_on: 11}\n", &["2: `11` is not a number from 0 to 10"]),
    ];
    for (text, expected) in cases {
        let text = text.replacen('+', "api: dibw/policy/v1\n", usize::from(text.starts_with('+')));
        let expected: Vec<String> = expected.iter().map(|said| format!("p.yaml:{said}")).collect();
        assert_eq!(problems(&text), expected, "{text}");
    }
}

#[test]
fn an_exception_lasts_through_its_last_day() {
    let text = "api: dibw/policy/v1\nclassic: {allow: [{element: a, level: host, reason: r, owner: o, expires: 2026-11-21}]}\n";
    assert!(parse("p.yaml", text, TODAY).is_ok());
}

#[test]
fn only_plain_yaml_is_read() {
    let bomb = (0..12).fold(String::from("a0: &a0 [x,x]\n"), |text, level| {
        format!("{text}a{}: &a{} [*a{level},*a{level}]\n", level + 1, level + 1)
    });
    let long = format!("api: dibw/policy/v1\nname: {}\n", "x".repeat(yaml::MAX_BYTES));
    let anchors = "anchors, aliases and merge keys are not accepted here";
    for (text, said) in [
        ("api: dibw/policy/v1\nname: a\nname: b\n", "duplicate key `name`"),
        ("api: [dibw\n", "not YAML"),
        ("", "a mapping is expected here, not nothing"),
        ("api: dibw/policy/v1\nname: &x a\n", anchors),
        ("api: dibw/policy/v1\nclassic: {<<: {default: deny}}\n", anchors),
        ("api: &a dibw/policy/v1\nname: *a\n", anchors),
        (bomb.as_str(), anchors),
        (long.as_str(), "more than 1048576"),
        ("api: dibw/policy/v1\nname: !!python/object:os.system x\n", "is no !!python/object"),
    ] {
        let told = problems(text).join("\n");
        assert!(told.contains(said), "{said}\n--- got ---\n{told}");
    }
}

#[test]
fn the_example_of_the_documentation_is_a_policy() {
    let page = include_str!("../../../../docs/policy.md");
    let start = page.find("## Every key").unwrap();
    let block = page[start..].split("```").nth(1).unwrap().strip_prefix("yaml\n").unwrap();
    let text = block.replace("sha256:...", &format!("sha256:{}", "0".repeat(64)));
    let parsed = parse("docs/policy.md", &text, TODAY).unwrap_or_else(|faults| panic!("{faults:?}"));
    assert!(parsed.trust.is_some() && parsed.never.len() == 5 && parsed.grants.len() == 3);
    assert_eq!(parsed.settings.repositories.len(), 2);
    assert!(parsed.ceiling.is_some_and(|ceiling| ceiling.resources.disk.is_some()));
}
