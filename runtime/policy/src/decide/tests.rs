//! Every operation without a need, with a need, without a grant and above the ceiling; what no policy can allow; the hints.

use super::*;
use crate::capability::ServiceAction;
use crate::kernel::BootLoader;
use crate::mount::MountKind;
use crate::operation::Access;
use crate::policy::{Mode, Policy, RISK_LIMIT};
use crate::url::Checksum;
use crate::{Grant, file};
use crate::{Identity, Need, PolicyFile};

fn need(text: &str) -> Need {
    let (capability, value) = text.split_once(' ').unwrap();
    Need::new(capability.parse().unwrap(), value).unwrap()
}

fn needs(texts: &[&str]) -> Vec<Need> {
    texts.iter().map(|t| need(t)).collect()
}

fn s(text: &str) -> String {
    text.to_owned()
}

/// Every operation with the needs that exactly cover it.
fn operations() -> Vec<(Operation, Vec<&'static str>)> {
    vec![
        (Operation::ReadFile { path: s("/etc/a") }, vec!["target.read /etc/a"]),
        (Operation::Stat { path: s("/etc/a") }, vec!["target.read /etc/*"]),
        (Operation::ListDirectory { path: s("/etc") }, vec!["target.read /etc/*"]),
        (Operation::ReadLink { path: s("/etc/a") }, vec!["target.read /etc/?"]),
        (Operation::WriteFile { path: s("/etc/a"), mode: 0o644 }, vec!["target.write /etc/a"]),
        (
            Operation::WriteFile { path: s("/etc/cron.d/a"), mode: 0o644 },
            vec!["target.write /etc/cron.d/a", "target.write_privileged cron"],
        ),
        (Operation::MakeDirectory { path: s("/opt/a"), mode: 0o755 }, vec!["target.write /opt/a/**"]),
        (Operation::Symlink { path: s("/opt/a"), target: s("/etc/passwd") }, vec!["target.write /opt/a"]),
        (
            Operation::Symlink { path: s("/etc/pam.d"), target: s("/opt") },
            vec!["target.write /etc/pam.d", "target.write_privileged pam"],
        ),
        (
            Operation::Rename { from: s("/opt/a"), to: s("/opt/b") },
            vec!["target.write /opt/a", "target.write /opt/b"],
        ),
        (
            Operation::RenameTree { from: s("/opt/a"), to: s("/opt/b") },
            vec!["target.write /opt/a/**", "target.write /opt/b/**"],
        ),
        (Operation::Remove { path: s("/opt/a") }, vec!["target.write /opt/a"]),
        (Operation::RemoveTree { path: s("/opt/a") }, vec!["target.write /opt/a/**"]),
        (Operation::SetMode { path: s("/opt/a"), mode: 0o755 }, vec!["target.write /opt/a"]),
        (Operation::SetOwner { path: s("/opt/a"), uid: 1, gid: 1 }, vec!["target.write /opt/a"]),
        (Operation::InstallPackage { name: s("curl") }, vec!["packages.install curl"]),
        (Operation::RemovePackage { name: s("curl") }, vec!["packages.remove curl"]),
        (
            Operation::SetService { action: ServiceAction::Enable, unit: s("ssh.service") },
            vec!["service.set enable ssh.service"],
        ),
        (Operation::AddUser { name: s("bob"), uid: None, groups: vec![s("users")] }, vec!["user.add bob"]),
        (
            Operation::AddUser { name: s("bob"), uid: Some(0), groups: vec![s("sudo")] },
            vec!["user.add bob", "user.privileged root", "user.privileged sudo"],
        ),
        (Operation::AddGroup { name: s("web") }, vec!["user.add web"]),
        (Operation::AddGroup { name: s("docker") }, vec!["user.add docker", "user.privileged docker"]),
        (
            Operation::SetAuthorizedKeys { name: s("bob") },
            vec!["target.write_privileged authorized_keys", "user.add bob"],
        ),
        (Operation::GrantSudo { name: s("bob") }, vec!["target.write_privileged sudoers", "user.add bob"]),
        (
            Operation::Execute { argv: vec![s("/usr/bin/true"), s("a b")] },
            vec!["target.exec /usr/bin/true *"],
        ),
        (Operation::GetVariable { name: s("DIB_RELEASE") }, vec!["host.env DIB_RELEASE"]),
        (Operation::SetVariable { name: s("DIB_RELEASE") }, vec!["env.set DIB_RELEASE"]),
        (Operation::AddRepository { id: s("acme-bookworm") }, vec!["packages.repo_add acme-*"]),
        (
            Operation::Fetch {
                url: s("https://a.example/pool/x"),
                checksum: Checksum::Required,
                addresses: vec![],
            },
            vec!["net.fetch https://a.example/pool"],
        ),
        (
            Operation::Fetch {
                url: s("http://a.example/x"),
                checksum: Checksum::FirstUse,
                addresses: vec![ip("8.8.8.8"), ip("10.1.2.3"), ip("::1")],
            },
            vec!["net.fetch http://*.example first-use", "net.address 10.0.0.0/8", "net.address ::1"],
        ),
        (
            Operation::Fetch { url: s("http://127.0.0.1:80/x"), checksum: Checksum::None, addresses: vec![] },
            vec!["net.fetch http://127.0.0.1/ none", "net.address 127.0.0.0/8"],
        ),
        (Operation::ReadInput { name: s("site-ca") }, vec!["host.input site-ca"]),
        (
            Operation::WriteSecret { name: s("key"), path: s("/etc/cron.d/key") },
            vec![
                "secret.use key file /etc/*/key",
                "target.write /etc/cron.d/*",
                "target.write_privileged cron",
            ],
        ),
        (
            Operation::SendSecret { name: s("key"), origin: s("https://a.example:443/x") },
            vec!["secret.use key header https://a.example/"],
        ),
        (Operation::UseCache { bytes: 4096 }, vec!["cache.rw 4KiB"]),
        (Operation::ContributeLayout { kind: s("mkfs") }, vec!["blockdev.contribute mkfs"]),
        (
            Operation::RequestMount { kind: MountKind::Tmpfs, path: s("/var/tmp") },
            vec!["mount.request tmpfs /var/*"],
        ),
        (Operation::AddKernelArgument { key: s("quiet"), value: s("") }, vec!["kernel.cmdline quiet"]),
        (
            Operation::AddKernelArgument { key: s("init"), value: s("/bin/sh") },
            vec!["kernel.cmdline i*", "kernel.cmdline_unsafe init"],
        ),
        (Operation::LoadKernelModule { name: s("br_netfilter") }, vec!["kernel.modules br_*"]),
        (Operation::SetSysctl { key: s("net.ipv4.ip_forward"), value: s("1") }, vec!["sysctl net.ipv4.*"]),
        (Operation::InstallBootloader { kind: BootLoader::GrubPc }, vec!["bootloader.install grub-pc"]),
        (Operation::EmitImage { format: s("qcow2") }, vec!["image.emit qcow2"]),
        (Operation::Preopen { path: s("/opt/a"), access: Access::Read }, vec!["target.read /opt/**"]),
        (
            Operation::Preopen { path: s("/etc/cron.d"), access: Access::Write },
            vec!["target.read /etc/**", "target.write /etc/cron.d/**", "target.write_privileged cron"],
        ),
    ]
}

/// A number for each kind of operation, without a gap: a new one does not compile without a number here, and the table test fails
/// until it has a row.
fn number(operation: &Operation) -> usize {
    match operation {
        Operation::ReadFile { .. } => 0,
        Operation::Stat { .. } => 1,
        Operation::ListDirectory { .. } => 2,
        Operation::ReadLink { .. } => 3,
        Operation::WriteFile { .. } => 4,
        Operation::MakeDirectory { .. } => 5,
        Operation::Symlink { .. } => 6,
        Operation::Rename { .. } => 7,
        Operation::RenameTree { .. } => 8,
        Operation::Remove { .. } => 9,
        Operation::RemoveTree { .. } => 10,
        Operation::SetMode { .. } => 11,
        Operation::SetOwner { .. } => 12,
        Operation::InstallPackage { .. } => 13,
        Operation::RemovePackage { .. } => 14,
        Operation::SetService { .. } => 15,
        Operation::AddUser { .. } => 16,
        Operation::AddGroup { .. } => 17,
        Operation::SetAuthorizedKeys { .. } => 18,
        Operation::GrantSudo { .. } => 19,
        Operation::Execute { .. } => 20,
        Operation::GetVariable { .. } => 21,
        Operation::SetVariable { .. } => 22,
        Operation::AddRepository { .. } => 23,
        Operation::Fetch { .. } => 24,
        Operation::ReadInput { .. } => 25,
        Operation::WriteSecret { .. } => 26,
        Operation::SendSecret { .. } => 27,
        Operation::UseCache { .. } => 28,
        Operation::ContributeLayout { .. } => 29,
        Operation::RequestMount { .. } => 30,
        Operation::AddKernelArgument { .. } => 31,
        Operation::LoadKernelModule { .. } => 32,
        Operation::SetSysctl { .. } => 33,
        Operation::InstallBootloader { .. } => 34,
        Operation::EmitImage { .. } => 35,
        Operation::Preopen { .. } => 36,
    }
}

#[test]
fn every_operation_has_a_row() {
    let numbers: std::collections::BTreeSet<usize> = operations().iter().map(|(o, _)| number(o)).collect();
    assert!(numbers.iter().copied().eq(0..37), "an operation has no row in the table: {numbers:?}");
}

fn ip(text: &str) -> std::net::IpAddr {
    text.parse().unwrap()
}

/// The built-in policy narrowed by a file.
fn narrowed(file: PolicyFile) -> Policy {
    Policy::default().narrowed_by(file).unwrap()
}

/// Rights of the element `e`.
fn rights(needs: &[Need], policy: &Policy, grants: &[Grant]) -> Effective {
    Effective::new(&Identity::named("e"), needs, policy, grants)
}

/// A policy file that grants (or limits to) these values.
fn file_with(section: &str, texts: &[&str]) -> PolicyFile {
    let mut lines = String::new();
    for capability in Capability::ALL {
        let values: Vec<String> = needs(texts)
            .iter()
            .filter(|n| n.capability() == capability)
            .map(|n| format!("{:?}", n.value()))
            .collect();
        if !values.is_empty() {
            lines.push_str(&format!("      {capability}: [{}]\n", values.join(", ")));
        }
    }
    let body = if lines.is_empty() { "      {}\n".to_owned() } else { lines };
    let text = match section {
        "grants" => format!(
            "api: dibw/policy/v1\ngrants:\n  - element: {{id: e}}\n    allow:\n{body}    i_understand: a test\n"
        ),
        other => format!("api: dibw/policy/v1\n{other}:\n{body}"),
    };
    file::parse("p.yaml", &text, "2026-01-01").unwrap()
}

#[test]
fn each_operation_passes_every_gate_or_is_refused() {
    for (operation, texts) in operations() {
        let wanted = needs(&texts);
        let by_hand: Vec<Grant> = wanted.iter().map(|n| Grant { element: s("e"), need: n.clone() }).collect();
        let risky = wanted.iter().any(|need| need.risk() > RISK_LIMIT);
        let grants: &[Grant] = if risky { &by_hand } else { &[] };
        let judged = |needs: &[Need], policy: &Policy, grants: &[Grant]| {
            decide(&rights(needs, policy, grants), &operation).is_allowed()
        };
        let decided = |needs: &[Need], policy: &Policy| judged(needs, policy, grants);
        let policy = |section, texts| narrowed(file_with(section, texts));
        assert!(decided(&wanted, &Policy::default()), "{operation:?}");
        assert_eq!(judged(&wanted, &Policy::default(), &[]), !risky, "{operation:?}");
        assert!(decided(&wanted, &policy("grants", &texts)), "granted {operation:?}");
        assert!(!decided(&[], &Policy::default()), "no need {operation:?}");
        assert!(!judged(&wanted, &policy("grants", &[]), &[]), "no grant {operation:?}");
        let mut all_granted = file_with("grants", &texts);
        all_granted.ceiling = file_with("ceiling", &[]).ceiling;
        assert!(!decided(&wanted, &narrowed(all_granted.clone())), "ceiling {operation:?}");
        all_granted.ceiling = file_with("ceiling", &texts).ceiling;
        assert!(decided(&wanted, &narrowed(all_granted.clone())), "below the ceiling {operation:?}");
        // A site's files decide alone, whatever the risk.
        let site = Policy::of_site(vec![all_granted]).unwrap();
        assert!(judged(&wanted, &site, &[]), "granted by a site {operation:?}");
        // Each need is required: without any one of them the operation is refused.
        for (left_out, text) in texts.iter().enumerate() {
            let mut fewer = wanted.clone();
            fewer.remove(left_out);
            assert!(!decided(&fewer, &Policy::default()), "{operation:?} without {text}");
        }
        // Another element's grant is of no use.
        let mut other = file_with("grants", &texts);
        other.grants[0].element = s("other");
        assert!(!judged(&wanted, &narrowed(other), &[]), "other element's grant {operation:?}");
    }
}

const EVERYTHING: [&str; 16] = [
    "target.read /**",
    "target.write /**",
    "target.write_privileged *",
    "target.exec /** **",
    "packages.install *",
    "packages.remove *",
    "user.add *",
    "user.privileged *",
    "net.fetch https://* none",
    "net.fetch http://* none",
    "net.address 0.0.0.0/0",
    "net.address ::/0",
    "sysctl *",
    "mount.request tmpfs /**",
    "secret.use * file /**",
    "kernel.cmdline *",
];

fn fetch(url: &str, addresses: &[&str]) -> Operation {
    let addresses = addresses.iter().map(|a| ip(a)).collect();
    Operation::Fetch { url: s(url), checksum: Checksum::Required, addresses }
}

#[test]
fn some_things_no_policy_allows() {
    let mut wanted = needs(&EVERYTHING);
    wanted.extend(needs(&["host.env LD_PRELOAD", "env.set PATH", "env.set TARGET_ROOT"]));
    let grants: Vec<Grant> = wanted.iter().map(|n| Grant { element: s("e"), need: n.clone() }).collect();
    let mut audit = file_with("grants", &[]);
    audit.mode = Mode::Audit;
    for policy in [Policy::default(), narrowed(audit)] {
        let effective = rights(&wanted, &policy, &grants);
        for operation in [
            Operation::SetMode { path: s("/opt/a"), mode: 0o4755 },
            Operation::WriteFile { path: s("/opt/a"), mode: 0o2755 },
            Operation::WriteFile { path: s("/opt/a"), mode: 0o7777 },
            Operation::MakeDirectory { path: s("/opt/a"), mode: 0o1777 },
            Operation::ReadFile { path: s("/proc/self/environ") },
            Operation::WriteFile { path: s("/dev/sda"), mode: 0o644 },
            Operation::WriteFile { path: s("//sys/./kernel/x"), mode: 0o644 },
            Operation::GetVariable { name: s("LD_PRELOAD") },
            Operation::SetVariable { name: s("PATH") },
            Operation::SetVariable { name: s("TARGET_ROOT") },
            fetch("https://a.example/", &["169.254.169.254"]),
            fetch("https://a.example/", &["8.8.8.8", "fe80::1"]),
            fetch("https://a.example/", &["224.0.0.1"]),
            fetch("http://169.254.169.254/latest", &[]),
            fetch("http://[fd00:ec2::254]/latest", &[]),
            Operation::SetSysctl { key: s("kernel.core_pattern"), value: s("|/bin/x") },
            Operation::RequestMount { kind: MountKind::Tmpfs, path: s("/") },
            Operation::RequestMount { kind: MountKind::Tmpfs, path: s("/proc/x") },
            Operation::Preopen { path: s("/dev"), access: Access::Read },
            Operation::WriteSecret { name: s("k"), path: s("/sys/x") },
        ] {
            let Decision::Deny(denial) = decide(&effective, &operation) else {
                panic!("{operation:?} was allowed");
            };
            assert_eq!(denial.hint, "", "{operation:?}");
        }
    }
}

#[test]
fn nonsense_is_malformed() {
    let effective = rights(&needs(&EVERYTHING), &Policy::default(), &[]);
    for operation in [
        Operation::ReadFile { path: s("etc/passwd") },
        Operation::ReadFile { path: s("/etc/../etc/shadow") },
        Operation::ReadFile { path: s("") },
        Operation::WriteFile { path: s("/a\0b"), mode: 0o644 },
        Operation::WriteFile { path: s("/a"), mode: 0o100_644 },
        Operation::Symlink { path: s("/a"), target: s("") },
        Operation::Symlink { path: s("/a"), target: s("a\0b") },
        Operation::Symlink { path: s("/a"), target: "a".repeat(5000) },
        Operation::WriteFile { path: s("/a"), mode: 0o10000 },
        Operation::InstallPackage { name: s("-o=x") },
        Operation::InstallPackage { name: s("curl-") },
        Operation::SetService { action: ServiceAction::Enable, unit: s("../x.service") },
        Operation::AddUser { name: s("a:b"), uid: None, groups: vec![] },
        Operation::AddUser { name: s("a"), uid: None, groups: vec![s("x,sudo")] },
        Operation::Execute { argv: vec![] },
        Operation::Execute { argv: vec![s("sh")] },
        Operation::GetVariable { name: s("A=B") },
        fetch("https://user@a.example/", &[]),
        fetch("https://a.example/../x", &[]),
        Operation::AddRepository { id: s("x y") },
        Operation::ReadInput { name: s("../x") },
        Operation::WriteSecret { name: s("K"), path: s("/a") },
        Operation::WriteSecret { name: s("k"), path: s("a") },
        Operation::SendSecret { name: s("k"), origin: s("a.example") },
        Operation::SendSecret { name: s("K"), origin: s("https://a.example") },
        Operation::ContributeLayout { kind: s("") },
        Operation::RequestMount { kind: MountKind::Tmpfs, path: s("x") },
        Operation::AddKernelArgument { key: s("a"), value: s("$(x)") },
        Operation::LoadKernelModule { name: s("a b") },
        Operation::SetSysctl { key: s("net.x"), value: s("a\nb") },
        Operation::EmitImage { format: s("") },
        Operation::Preopen { path: s(".."), access: Access::Write },
    ] {
        assert!(matches!(decide(&effective, &operation), Decision::Malformed { .. }), "{operation:?}");
    }
}

#[test]
fn a_denial_names_every_gate_and_the_lines_to_add() {
    let mut strict = file_with("grants", &[]);
    strict.ceiling = file_with("ceiling", &[]).ceiling;
    let effective = rights(&[], &narrowed(strict), &[]);
    let Decision::Deny(denial) =
        decide(&effective, &Operation::WriteFile { path: s("/etc/cron.d/x"), mode: 0o644 })
    else {
        panic!("allowed");
    };
    assert!(
        denial.to_string().starts_with("target.write `/etc/cron.d/x` refused: `e` does not declare"),
        "{denial}"
    );
    assert_eq!((denial.capability, denial.subject.as_str()), (Capability::TargetWrite, "/etc/cron.d/x"));
    let lines: Vec<&str> = denial.hint.lines().collect();
    assert_eq!(
        lines,
        [
            "in the element's needs!: write \"/etc/cron.d/x\";",
            "in p.yaml: grants[0].allow.target.write: [/etc/cron.d/x]",
            "in p.yaml: ceiling.target.write: [/etc/cron.d/x]",
            "in the element's needs!: privileged \"cron\";",
            "in p.yaml: grants[0].allow.target.write_privileged: [cron]",
            "in p.yaml: ceiling.target.write_privileged: [cron]",
        ]
    );
    assert_eq!(
        decide(&rights(&[], &Policy::default(), &[]), &Operation::ReadFile { path: s("/a") }),
        Decision::Deny(Denial {
            capability: Capability::TargetRead,
            subject: s("/a"),
            rule: s("`e` does not declare target.read /a in its needs"),
            hint: s("in the element's needs!: read \"/a\";"),
        })
    );
}

#[test]
fn risk_four_comes_from_the_command_line_only() {
    let wanted = needs(&["host.env SITE_TOKEN", "target.read /a"]);
    let get = Operation::GetVariable { name: s("SITE_TOKEN") };
    let by_default = rights(&wanted, &Policy::default(), &[]);
    let by_file = rights(&wanted, &narrowed(file_with("grants", &["host.env SITE_TOKEN"])), &[]);
    for effective in [&by_default, &by_file] {
        let Decision::Deny(denial) = decide(effective, &get) else { panic!("allowed") };
        assert_eq!(denial.hint, "on the command line: --grant 'e:host.env=SITE_TOKEN'");
    }
    assert_eq!(by_default.refused_needs().len(), 1);
    let grant: Grant = "e:host.env=SITE_TOKEN".parse().unwrap();
    let by_hand = rights(&wanted, &Policy::default(), &[grant]);
    assert_eq!(
        decide(&by_hand, &get),
        Decision::Allow { rule: s("needs host.env SITE_TOKEN; --grant e:host.env=SITE_TOKEN") }
    );
    assert_eq!(by_hand.refused_needs(), vec![]);
    let undeclared = rights(&[], &Policy::default(), &["e:host.env=SITE_TOKEN".parse().unwrap()]);
    assert!(!decide(&undeclared, &get).is_allowed(), "a grant is no need");
}

#[test]
fn audit_mode_lets_through_what_the_file_refuses_and_only_that() {
    let mut audit = file_with("grants", &[]);
    audit.mode = Mode::Audit;
    let audit = narrowed(audit);
    let write = Operation::WriteFile { path: s("/etc/a"), mode: 0o644 };
    let declared = rights(&needs(&["target.write /etc/a"]), &audit, &[]);
    assert!(matches!(decide(&declared, &write), Decision::WouldDeny(_)));
    assert_eq!(declared.refused_needs(), vec![]);
    assert!(matches!(decide(&rights(&[], &audit, &[]), &write), Decision::Deny(_)));
}

#[test]
fn records_say_what_was_decided() {
    let effective = rights(&needs(&["target.read /a"]), &Policy::default(), &[]);
    let record = |operation: Operation| {
        let decision = decide(&effective, &operation);
        serde_json::to_string(&crate::Record::new(&effective, "install", &operation, &decision)).unwrap()
    };
    assert_eq!(
        record(Operation::ReadFile { path: s("/a") }),
        r#"{"element":"e","phase":"install","capability":"target.read","subject":"/a","decision":"allow","rule":"needs target.read /a; granted by default"}"#
    );
    assert_eq!(
        record(Operation::ReadFile { path: s("/\u{1b}[2J") }),
        r#"{"element":"e","phase":"install","capability":"target.read","subject":"/\\u{1b}[2J","decision":"deny","rule":"`e` does not declare target.read /\\u{1b}[2J in its needs"}"#
    );
    let tree = record(Operation::RemoveTree { path: s("/opt/a") });
    assert!(tree.contains(r#""subject":"/opt/a/**""#), "{tree}");
}
