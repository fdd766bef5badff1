//! `dibw policy` and `dibw audit` as a user sees them: worked policies, what is explained, and that pasting what is
//! proposed makes a refusal go away.

use std::fs;
use std::path::Path;
use std::process::Command;

use dibw_policy::audit::{Chain, Circumstance, Record};
use dibw_policy::{Capability, Effective, Identity, Mode, Policy, Question, decide};
use dibw_tests::component::with_motd;
use dibw_tests::dibw::{Dibw, Ran, root, workspace};
use dibw_tests::golden::golden;

const WORKED: [&str; 3] = ["locked-down", "laptop", "ci-migration"];

const NEEDS: [(&str, &str); 3] =
    [("target.write", "/etc/**"), ("target.write_privileged", "cron"), ("packages.install", "figlet")];

fn ran(dibw: Dibw, args: &[&str]) -> (Ran, Dibw) {
    let dibw = dibw.again().args(args);
    (dibw.run(), dibw)
}

/// What a build asked for that would be refused two things by the locked-down site.
fn recording() -> String {
    recorded(&[
        (Capability::TargetWrite, &["/etc/motd"]),
        (Capability::PackagesInstall, &["figlet"]),
        (Capability::TargetWrite, &["/etc/cron.d/motd"]),
        (Capability::HostEnv, &["LD_PRELOAD"]),
    ])
}

/// The audit log of a build.
fn recorded(asked: &[(Capability, &[&str])]) -> String {
    let digest = "9f2c".repeat(16);
    let identity = Identity { digest: Some(digest), ..Identity::named("motd") };
    let mut chain = Chain::new("noble", "built-in");
    let mut text = String::new();
    let when = |second: usize| Circumstance {
        t: format!("2026-11-21T18:30:{second:02}Z"),
        dur_ms: Some(1),
        bytes: None,
    };
    for (second, (capability, words)) in asked.iter().enumerate() {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let question = Question::new(*capability, &words);
        let needs = question.needs().unwrap();
        let effective = Effective::new(&identity, &needs, &Policy::default(), &[]);
        let operation = question.operation().unwrap().unwrap();
        let record = Record::new(&effective, "install", &operation, &decide(&effective, &operation));
        text.push_str(&chain.line(&record, &when(second)));
        text.push('\n');
    }
    text.push_str(&chain.end("2026-11-21T18:31:00Z", Mode::Enforce));
    text.push('\n');
    text
}

/// The recording of the worked policy, which also holds the format of logs still.
#[test]
fn a_recording_is_as_it_was() {
    let text = recorded(&[
        (Capability::TargetWrite, &["/etc/motd"]),
        (Capability::PackagesInstall, &["figlet"]),
        (Capability::ServiceSet, &["enable", "motd-news.timer"]),
        (Capability::NetFetch, &["https://mirror.acme.example/motd/logo", "required"]),
    ]);
    golden("fixtures/policies/locked-down/recordings/noble.audit.jsonl", &text);
}

#[test]
fn worked_policies_pass_their_tests() {
    for name in WORKED {
        let file = workspace().join("tests/fixtures/policies").join(name).join("policy_test.yaml");
        let ran = Dibw::new().args(["policy", "test"]).args([&file]).succeed();
        golden(&format!("cli/golden/policy/test-{name}.txt"), &ran.stdout);
    }
}

#[test]
fn worked_policies_are_checked() {
    for (name, code) in [("locked-down", 0), ("laptop", 0), ("ci-migration", 1)] {
        let directory = workspace().join("tests/fixtures/policies").join(name);
        let ran = Dibw::new().args(["policy", "check", "--weights"]).args([&directory]).run();
        assert_eq!((ran.code, ran.stderr.as_str()), (code, ""), "{}", ran.stdout);
        golden(&format!("cli/golden/policy/check-{name}.txt"), &ran.stdout);
    }
    let laptop = workspace().join("tests/fixtures/policies/laptop");
    let ran = Dibw::new().args(["policy", "check", "--fail-on", "2"]).args([&laptop]).run();
    assert_eq!(ran.code, 1, "{}", ran.stdout);
}

#[test]
fn policies_to_start_from_are_good_policies() {
    for kind in ["--locked-down", "--learning", "--migration"] {
        let (started, dibw) = ran(Dibw::new(), &["policy", "init", kind]);
        dibw.file("start.yaml", &started.stdout);
        let (checked, _) = ran(dibw, &["policy", "check", "start.yaml"]);
        assert_eq!((checked.code, checked.stderr.as_str()), (0, ""), "{kind}\n{}", checked.stdout);
    }
    assert_eq!(ran(Dibw::new(), &["policy", "init", "--learning", "--migration"]).0.code, 2);
}

#[test]
fn a_failing_test_says_what_came_out() {
    let dibw = Dibw::new();
    dibw.file("p.yaml", "api: dibw/policy/v1\nceiling: {net.fetch: [https://a.example/]}\ngrants: [{element: e, allow: {net.fetch: [https://a.example/], target.read: [/a]}}]\n");
    dibw.file(
        "policy_test.yaml",
        "tests:\n  - {name: refused, element: e, when: {cap: net.fetch, url: \"https://a.example/x\"}, expect: {deny: net.fetch.resolved-ip}}\n  - {name: recorded, replay: nowhere, expect: {denials: 0}}\n",
    );
    let (ran, _) = ran(dibw, &["policy", "test", "policy_test.yaml"]);
    assert_eq!(
        ran.stdout,
        "./p.yaml (policy_test.yaml)\n  FAIL refused: expected deny net.fetch.resolved-ip, got allow (needs net.fetch https://a.example/x required; granted by ./p.yaml:3)   line 2\n  FAIL recorded: cannot read nowhere: No such file or directory (os error 2)   line 3\ncoverage: 2 of 3 rules exercised; never used: grants[0].allow.target.read[0]\n0 passed, 2 failed\n"
    );
    assert_eq!(ran.code, 1);
}

const SITE: &str = "\
api: dibw/policy/v1
name: site
ceiling:
  target.write: [/etc/**]
  target.write_privileged: [systemd_units]
  packages.install: [curl]
grants:
  - element: {id: other}
    allow:
      target.write: [/etc/motd]
  - element:
      id: motd
    allow:
      target.write: [/etc/motd]
";

#[test]
fn every_gate_is_explained() {
    let dibw = with_motd(&NEEDS);
    dibw.file("site.yaml", SITE);
    let args = ["policy", "explain", "motd", "target.write", "/etc/cron.d/x", "--site", "site.yaml"];
    let (ran, dibw) = ran(dibw, &args);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    golden("cli/golden/policy/explain-denied.txt", &without_digest(&ran.stdout));
    let dibw = dibw.again().args(["policy", "explain", "vm", "--classic"]);
    let classic = dibw.succeed().stdout;
    let lines: Vec<&str> = classic.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "  outside  confined  default for classic elements",
            "  inside   strict    default for classic elements"
        ]
    );
}

/// The component's digest changes with its manifest; its first digits stand in names.
fn without_digest(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("sha256:") {
        let after = &rest[at + 7..];
        let digits = after.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(after.len());
        out.push_str(&rest[..at]);
        out.push_str("sha256:[DIGEST]");
        rest = &after[digits..];
    }
    out.push_str(rest);
    out
}

/// Pastes a line of `to allow it` into the text of a policy: at its key, which is replaced, or where it is missing.
fn paste(text: &str, line: &str) -> String {
    let (key, yaml) = line.trim().split_once(": ").unwrap();
    let yaml = yaml.split("   # in ").next().unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let section = if key.starts_with("ceiling.") { "ceiling" } else { "grants" };
    let Some(start) = lines.iter().position(|l| l.starts_with(&format!("{section}:"))) else {
        lines.push(format!("{section}:\n  - {yaml}"));
        return lines.join("\n") + "\n";
    };
    let end = (start + 1..lines.len()).find(|i| !lines[*i].starts_with(' ')).unwrap_or(lines.len());
    if let Some(capability) = key.strip_prefix("ceiling.") {
        put(&mut lines, start + 1, end, "  ", capability, yaml);
        return lines.join("\n") + "\n";
    }
    let (index, place) = key.strip_prefix("grants[").unwrap().split_once(']').unwrap();
    let index: usize = index.parse().unwrap();
    let items: Vec<usize> = (start + 1..end).filter(|i| lines[*i].starts_with("  - ")).collect();
    if index == items.len() {
        if lines[start].trim_end() == "grants: []" {
            lines[start] = "grants:".to_owned();
        }
        lines.insert(end, format!("  - {yaml}"));
        return lines.join("\n") + "\n";
    }
    let item_end = items.get(index + 1).copied().unwrap_or(end);
    match place.strip_prefix(".allow.") {
        Some(capability) => {
            let allow = (items[index]..item_end).find(|i| lines[*i].trim() == "allow:").unwrap();
            put(&mut lines, allow + 1, item_end, "      ", capability, yaml);
        }
        None => {
            assert_eq!(place, ".element");
            let allow = (items[index]..item_end).find(|i| lines[*i].trim() == "allow:").unwrap();
            lines.splice(items[index]..allow, [format!("  - element: {yaml}")]);
        }
    }
    lines.join("\n") + "\n"
}

fn put(lines: &mut Vec<String>, start: usize, end: usize, indent: &str, key: &str, yaml: &str) {
    let wanted = format!("{indent}{key}:");
    let line = format!("{wanted} {yaml}");
    match (start..end).find(|i| lines[*i].starts_with(&wanted)) {
        Some(at) => lines[at] = line,
        None => lines.insert(start, line),
    }
}

/// Explains, pastes what is proposed, and explains again.
fn pasted(dibw: Dibw, policy: &str, question: &[&str]) -> String {
    dibw.file("site.yaml", policy);
    let args: Vec<&str> = ["policy", "explain", "motd"]
        .iter()
        .chain(question)
        .copied()
        .chain(["--site", "site.yaml"])
        .collect();
    let (before, dibw) = ran(dibw, &args);
    assert!(before.stdout.starts_with("DENIED"), "{}", before.stdout);
    let proposed = before.stdout.lines().skip_while(|line| !line.starts_with("  to allow it")).skip(1);
    let mut text = policy.to_owned();
    for line in proposed {
        assert!(!line.contains("needs!"), "{line}");
        text = paste(&text, line);
    }
    dibw.file("site.yaml", &text);
    let (after, _) = ran(dibw, &args);
    assert!(after.stdout.starts_with("ALLOWED"), "{text}\n{}{}", after.stdout, after.stderr);
    text
}

#[test]
fn what_is_proposed_can_be_pasted() {
    let text = pasted(with_motd(&NEEDS), SITE, &["target.write", "/etc/cron.d/x"]);
    assert!(text.contains("  target.write_privileged: [systemd_units, cron]\n"), "{text}");
    assert!(text.contains("      target.write: [/etc/motd, /etc/cron.d/x]\n"), "{text}");
    assert!(text.contains("      target.write_privileged: [cron]\n"), "{text}");
    let text = pasted(with_motd(&NEEDS), SITE, &["packages.install", "figlet"]);
    assert!(text.contains("  packages.install: [curl, figlet]\n"), "{text}");
    // No grant for the element yet; no ceiling.
    let text =
        pasted(with_motd(&NEEDS), "api: dibw/policy/v1\ngrants: []\n", &["target.write", "/etc/cron.d/x"]);
    assert!(
        text.contains("allow: {target.write: [/etc/cron.d/x], target.write_privileged: [cron]}}"),
        "{text}"
    );
    pasted(
        with_motd(&NEEDS),
        "api: dibw/policy/v1\nceiling:\n  target.read: []\n",
        &["target.write", "/etc/x"],
    );
    // A grant for other bytes.
    let old = format!(
        "api: dibw/policy/v1\ngrants:\n  - element: {{id: motd, digest: \"sha256:{}\"}}\n    allow:\n      target.write: [/etc/motd]\n",
        "0".repeat(64)
    );
    let text = pasted(with_motd(&NEEDS), &old, &["target.write", "/etc/motd"]);
    assert!(!text.contains(&"0".repeat(64)), "{text}");
}

#[test]
fn other_bytes_are_named_in_the_explanation() {
    let dibw = with_motd(&NEEDS);
    let text = format!(
        "api: dibw/policy/v1\ngrants: [{{element: {{id: motd, digest: \"sha256:{}\"}}, allow: {{target.write: [/etc/motd]}}}}]\n",
        "0".repeat(64)
    );
    dibw.file("site.yaml", &text);
    let (ran, _) =
        ran(dibw, &["policy", "explain", "motd", "target.write", "/etc/motd", "--site", "site.yaml"]);
    let said = "  grant    no    granted for digest sha256:000000000000.., this is sha256:";
    assert!(ran.stdout.contains(said), "{}", ran.stdout);
}

#[test]
fn whom_nobody_trusts_is_denied_whatever_is_granted() {
    let dibw = with_motd(&NEEDS);
    let trust = "trust: {elements: {any_of: [{kind: key, name: team, key: /k.pub}]}}\n";
    dibw.file("site.yaml", &SITE.replace("name: site\n", trust));
    let args = ["policy", "explain", "motd", "target.write", "/etc/motd", "--site", "site.yaml"];
    let (ran, _) = ran(dibw, &args);
    let told: Vec<&str> = ran.stdout.lines().collect();
    assert!(told[0].starts_with("DENIED"), "{}", ran.stdout);
    assert!(
        told[1].starts_with("  trust    no    site.yaml asks for 1 of its keys to have signed motd@"),
        "{}",
        ran.stdout
    );
    assert_eq!(told[2], "  to let it take part: have it signed by `team`: dibw sign --key KEY motd.wasm");
}

#[test]
fn questions_that_cannot_be_answered() {
    for (args, code, said) in [
        (
            &["motd", "target.wirte", "/x"][..],
            2,
            "unknown capability `target.wirte`; did you mean `target.write`?",
        ),
        (&["motd", "service.set", "x"][..], 2, "service.set takes enable|disable|mask and a unit"),
        (&["mtod", "target.write", "/x"][..], 2, "Element 'mtod' not found\n  hint: did you mean `motd`?"),
        (
            &["vm", "target.write", "/x"][..],
            2,
            "vm is a shell element: it has no capabilities, only a level\n  hint: dibw policy explain vm --classic",
        ),
        (&["motd", "host.env", "LD_PRELOAD"][..], 0, ""),
    ] {
        let (ran, _) = ran(with_motd(&NEEDS), &[&["policy", "explain"], args].concat());
        assert_eq!(ran.code, code, "{args:?}");
        assert!(ran.stderr.contains(said), "{args:?}\n{}", ran.stderr);
    }
}

#[test]
fn the_built_in_policy_and_a_file_that_narrows_it() {
    let allowed = "ALLOWED  motd@sha256:[DIGEST]..  target.write  /etc/motd\n  needs    yes   needs target.write /etc/**\n  grant    yes   granted by default\n";
    let (by_default, dibw) =
        ran(with_motd(&NEEDS), &["policy", "explain", "motd", "target.write", "/etc/motd"]);
    assert_eq!(without_digest(&by_default.stdout), allowed);
    dibw.file("narrow.yaml", "api: dibw/policy/v1\ngrants: []\n");
    let args = ["policy", "explain", "motd", "target.write", "/etc/motd", "--policy", "narrow.yaml"];
    let (narrowed, dibw) = ran(dibw, &args);
    assert!(narrowed.stdout.starts_with("DENIED"), "{}", narrowed.stdout);
    let grant = ["--grant", "motd:target.write=/etc/motd"];
    let (by_hand, dibw) = ran(dibw, &[&args[..], &grant].concat());
    assert!(by_hand.stdout.starts_with("ALLOWED"), "{}", by_hand.stdout);
    dibw.file("site.yaml", SITE);
    let (refused, _) = ran(dibw, &[&args[..5], &["--site", "site.yaml"], &grant[..]].concat());
    assert_eq!(refused.code, 3);
    assert_eq!(
        refused.stderr,
        "error: --grant motd:target.write=/etc/motd: on this machine site.yaml alone decides what elements are granted\n  hint: in grants of site.yaml: - {element: {id: motd}, allow: {target.write: [/etc/motd]}}\n"
    );
}

#[test]
fn a_broken_log_is_found_and_a_whole_one_summarised() {
    let dibw = Dibw::new();
    dibw.file("a.jsonl", &recording());
    let (whole, dibw) = ran(dibw, &["audit", "a.jsonl"]);
    assert_eq!((whole.code, whole.stderr.as_str()), (0, ""));
    golden("cli/golden/policy/audit.txt", &whole.stdout);
    assert_eq!(ran(dibw, &["audit", "a.jsonl", "--fail-on-denied"]).0.code, 3);
    let dibw = Dibw::new();
    dibw.file("b.jsonl", &recording().replace("figlet", "toilet"));
    let (broken, dibw) = ran(dibw, &["audit", "b.jsonl"]);
    assert_eq!(broken.code, 1);
    assert!(
        broken.stderr.starts_with("error: b.jsonl:3: the log is not whole: it does not follow"),
        "{}",
        broken.stderr
    );
    assert_eq!(ran(dibw, &["policy", "suggest", "--from", "b.jsonl"]).0.code, 2);
}

#[test]
fn grants_are_proposed_from_a_log_and_allow_what_was_recorded() {
    let dibw = Dibw::new();
    dibw.file("a.jsonl", &recording());
    let (proposed, dibw) = ran(dibw, &["policy", "suggest", "--from", "a.jsonl"]);
    golden("cli/golden/policy/suggest.txt", &proposed.stdout);
    let policy = format!("api: dibw/policy/v1\n{}", proposed.stdout);
    dibw.file("p.yaml", &policy);
    dibw.file("policy_test.yaml", "tests: [{name: again, replay: a.jsonl, expect: {denials: 2}}]\n");
    let (tested, dibw) = ran(dibw, &["policy", "test", "policy_test.yaml"]);
    assert_eq!(tested.code, 0, "{}", tested.stdout);
    // With the comment uncommented, only what nothing allows is left.
    dibw.file("p.yaml", &policy.replace("    #  target.write_p", "      target.write_p"));
    dibw.file("policy_test.yaml", "tests: [{name: again, replay: a.jsonl, expect: {denials: 1}}]\n");
    let (tested, _) = ran(dibw, &["policy", "test", "policy_test.yaml"]);
    assert_eq!(tested.code, 0, "{}", tested.stdout);
}

#[test]
fn what_a_new_policy_hands_out() {
    let dibw = Dibw::new();
    dibw.file("old.yaml", SITE);
    let new = SITE
        .replace("[systemd_units]", "[systemd_units, cron]")
        .replace("id: other", "id: third")
        .replace("name: site", "mode: audit");
    dibw.file("new.yaml", &format!("{new}classic: {{default: strict}}\nnever: [{{host.input: \"*\"}}]\n"));
    let (ran_, dibw) = ran(dibw, &["policy", "diff", "old.yaml", "new.yaml"]);
    assert_eq!(
        ran_.stdout,
        "\
WIDENED  mode: enforce -> audit
WIDENED  granted to third: target.write /etc/motd (risk 2)
WIDENED  ceiling raised: target.write_privileged cron (risk 3)
narrowed no longer granted to other: target.write /etc/motd (risk 2)
narrowed + never host.input *
narrowed classic elements without a rule: confined -> strict
"
    );
    assert_eq!(ran_.code, 1);
    let (same, _) = ran(dibw, &["policy", "diff", "old.yaml", "old.yaml"]);
    assert_eq!((same.code, same.stdout.as_str()), (0, "no difference\n"));
}

/// Runs dibw where `/etc/dibw/policy.d` is `policies`: in a mount namespace of its own, with an overlay over `/etc`, so that nothing is
/// left behind. `prepare` is shell that runs there first.
fn at_site(dibw: &Dibw, policies: &Path, prepare: &str, args: &[&str]) -> (i32, String, String) {
    let layers = dibw.dir().join("etc");
    if layers.exists() {
        fs::remove_dir_all(&layers).unwrap();
    }
    for name in ["up", "work"] {
        fs::create_dir_all(layers.join(name)).unwrap();
    }
    let script = format!(
        "set -e; mount -t overlay overlay -o lowerdir=/etc,upperdir={l}/up,workdir={l}/work /etc; \
         mkdir -p /etc/dibw/policy.d; chmod 755 /etc/dibw /etc/dibw/policy.d; cp {p}/*.yaml /etc/dibw/policy.d/; \
         chown -R 0:0 /etc/dibw; chmod 644 /etc/dibw/policy.d/*; rm -f /etc/dibw/policy.d/policy_test.yaml; {prepare}; exec \"$@\"",
        l = layers.display(),
        p = policies.display()
    );
    let inner = dibw.command();
    let mut command = Command::new("unshare");
    command.args(["-m", "--propagation", "private", "sh", "-c", &script, "sh"]);
    command.arg(inner.get_program()).args(args).current_dir(dibw.dir());
    for (name, value) in inner.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(128), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_site_decides_and_only_root_writes_it() {
    if !root("a_site_decides_and_only_root_writes_it") {
        return;
    }
    let dibw = with_motd(&NEEDS);
    let policies = dibw.dir().join("policies");
    fs::create_dir_all(&policies).unwrap();
    fs::write(policies.join("10-site.yaml"), SITE).unwrap();
    let plan = ["plan", "fake-os", "motd", "-n", "-t", "tar"];
    let (code, _, said) = at_site(&dibw, &policies, ":", &plan);
    assert_eq!(code, 3, "{said}");
    assert!(
        said.contains(
            "motd may not have packages.install figlet: /etc/dibw/policy.d/10-site.yaml does not grant"
        ),
        "{said}"
    );
    let (code, _, said) =
        at_site(&dibw, &policies, ":", &[&plan[..], &["--grant", "motd:packages.install=figlet"]].concat());
    assert!(code == 3 && said.contains("alone decides what elements are granted"), "{said}");
    let (code, out, said) = at_site(&dibw, &policies, ":", &["policy", "check"]);
    assert_eq!(code, 0, "{said}");
    assert!(out.starts_with("policy /etc/dibw/policy.d/10-site.yaml: enforce, 2 grants, hash "), "{out}");
    let file = "/etc/dibw/policy.d/10-site.yaml";
    for (prepare, expected) in [
        (format!("chmod g+w {file}"), "can be written by others than root (mode 0664)"),
        (format!("chown 1:1 {file}"), "belongs to user 1, not to root"),
        (format!("mv {file} /etc/x; ln -s /etc/x {file}"), "is not a regular file"),
        (format!("rm {file}; mkfifo {file}"), "is not a regular file"),
        ("chmod o+w /etc/dibw/policy.d".to_owned(), "can be written by others than root"),
        ("chown 1 /etc/dibw".to_owned(), "policy /etc/dibw belongs to user 1"),
        (format!("mv {file} /etc/dibw/policy.d/a.yml"), "would not be read; name it .yaml"),
        ("rm -r /etc/dibw/policy.d; ln -s /tmp /etc/dibw/policy.d".to_owned(), "is not a directory"),
        (format!("echo 'moed: x' >> {file}"), "unknown key `moed`"),
    ] {
        for command in [&plan[..], &["policy", "check"][..]] {
            let (code, _, said) = at_site(&dibw, &policies, &prepare, command);
            assert!(code == 2 && said.contains(expected), "{prepare}: {code} {said}");
        }
    }
    assert!(!Path::new("/etc/dibw/policy.d/10-site.yaml").exists(), "the overlay is gone");
}
