//! What must hold for every policy, whatever is in it: rights are the intersection of needs, grants and ceilings; a grant never takes
//! away; a lower ceiling never gives; a file of the command line only narrows. Policies, needs and operations are made at random from a
//! small vocabulary, so that they meet often; the seed is fixed, so that a failure comes again.

use std::collections::BTreeMap;

use dibw_policy::{Effective, Identity, Need, Operation, Policy, PolicyFile, ServiceAction, decide, file};

/// Policies tried for each property.
const ROUNDS: usize = 250;

/// Xorshift64*: <https://doi.org/10.18637/jss.v008.i14>.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).unwrap() % sides
    }

    fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.roll(all.len())]
    }

    /// Some of them, each once.
    fn some<'a, T>(&mut self, all: &'a [T], most: usize) -> Vec<&'a T> {
        (0..self.roll(most + 1)).map(|_| self.pick(all)).collect()
    }
}

const RIGHTS: [(&str, &str); 26] = [
    ("target.write", "/etc/*"),
    ("target.write", "/etc/**"),
    ("target.write", "/etc/motd"),
    ("target.write", "/opt/**"),
    ("target.write", "/**"),
    ("target.read", "/etc/**"),
    ("target.read", "/etc/motd"),
    ("target.write_privileged", "cron"),
    ("target.write_privileged", "sudoers"),
    ("target.write_privileged", "*"),
    ("target.exec", "/bin/a **"),
    ("target.exec", "/bin/a b"),
    ("packages.install", "c*"),
    ("packages.install", "curl"),
    ("service.set", "enable *"),
    ("service.set", "enable x.service"),
    ("user.add", "bob"),
    ("user.privileged", "sudo"),
    ("host.env", "DIB_*"),
    ("host.env", "SITE_X"),
    ("net.fetch", "https://a.example/ first-use"),
    ("net.fetch", "https://*.example/ none"),
    ("net.address", "10.0.0.0/8"),
    ("secret.use", "k file /etc/*"),
    ("cache.rw", "1MiB"),
    ("kernel.cmdline", "i*"),
];

fn operations() -> Vec<Operation> {
    let s = |text: &str| text.to_owned();
    let write = |path: &str| Operation::WriteFile { path: s(path), mode: 0o644 };
    let fetch = |url: &str, checksum, addresses: &[&str]| Operation::Fetch {
        url: s(url),
        checksum,
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
    };
    vec![
        write("/etc/motd"),
        write("/etc/cron.d/x"),
        write("/opt/x"),
        Operation::RemoveTree { path: s("/etc") },
        Operation::RemoveTree { path: s("/opt/a") },
        Operation::Rename { from: s("/etc/motd"), to: s("/opt/motd") },
        Operation::ReadFile { path: s("/etc/motd") },
        Operation::Execute { argv: vec![s("/bin/a"), s("b")] },
        Operation::Execute { argv: vec![s("/bin/a"), s("c")] },
        Operation::InstallPackage { name: s("curl") },
        Operation::SetService { action: ServiceAction::Enable, unit: s("x.service") },
        Operation::AddUser { name: s("bob"), uid: None, groups: vec![s("sudo")] },
        Operation::GetVariable { name: s("DIB_X") },
        Operation::GetVariable { name: s("SITE_X") },
        fetch("https://a.example/x", dibw_policy::Checksum::Required, &[]),
        fetch("https://b.example/x", dibw_policy::Checksum::None, &["10.0.0.1"]),
        Operation::WriteSecret { name: s("k"), path: s("/etc/motd") },
        Operation::UseCache { bytes: 1000 },
        Operation::AddKernelArgument { key: s("init"), value: s("/x") },
    ]
}

type Right = (&'static str, &'static str);

fn needs(rights: &[&Right]) -> Vec<Need> {
    rights.iter().map(|(capability, value)| Need::new(capability.parse().unwrap(), value).unwrap()).collect()
}

/// As a mapping of YAML.
fn mapping(rights: &[&Right]) -> String {
    let mut by_capability: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (capability, value) in rights {
        by_capability.entry(capability).or_default().push(format!("{value:?}"));
    }
    let entries =
        by_capability.iter().map(|(capability, values)| format!("{capability}: [{}]", values.join(", ")));
    format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
}

fn policy_file(
    name: &str,
    grants: &[Vec<&Right>],
    ceiling: Option<&[&Right]>,
    never: &[&Right],
) -> PolicyFile {
    let mut text = "api: dibw/policy/v1\n".to_owned();
    if let Some(ceiling) = ceiling {
        text.push_str(&format!("ceiling: {}\n", mapping(ceiling)));
    }
    text.push_str("grants:\n");
    for grant in grants {
        text.push_str(&format!("  - {{element: e, i_understand: test, allow: {}}}\n", mapping(grant)));
    }
    text.push_str("  - {element: other, i_understand: test, allow: {target.write: [\"/**\"]}}\n");
    if !never.is_empty() {
        let entries: Vec<String> = never.iter().map(|right| mapping(&[right])).collect();
        text.push_str(&format!("never: [{}]\n", entries.join(", ")));
    }
    file::parse(name, &text, "2026-01-01").unwrap_or_else(|faults| panic!("{faults:?}\n{text}"))
}

fn site(files: Vec<PolicyFile>) -> Policy {
    Policy::of_site(files).unwrap()
}

fn allowed(needs: &[Need], policy: &Policy, operation: &Operation) -> bool {
    decide(&Effective::new(&Identity::named("e"), needs, policy, &[]), operation).is_allowed()
}

/// Every right of the vocabulary and more: a gate that lets everything through.
fn everything() -> Vec<&'static Right> {
    const MORE: [Right; 7] = [
        ("user.add", "*"),
        ("user.privileged", "*"),
        ("net.address", "0.0.0.0/0"),
        ("host.env", "SITE_*"),
        ("kernel.cmdline_unsafe", "*"),
        ("packages.install", "*"),
        ("target.exec", "/** **"),
    ];
    RIGHTS.iter().chain(&MORE).collect()
}

#[test]
fn rights_are_the_intersection_of_needs_grants_and_ceilings() {
    let mut dice = Dice(1);
    let all = everything();
    let wide_open = site(vec![policy_file("p", std::slice::from_ref(&all), None, &[])]);
    let (mut yes, mut no) = (0, 0);
    for _ in 0..ROUNDS {
        let (declared, granted, ceiling) =
            (dice.some(&RIGHTS, 20), dice.some(&RIGHTS, 20), dice.some(&RIGHTS, 24));
        let policy = site(vec![policy_file("p", std::slice::from_ref(&granted), Some(&ceiling), &[])]);
        let only_granted = site(vec![policy_file("p", std::slice::from_ref(&granted), None, &[])]);
        let only_ceiling = site(vec![policy_file("p", std::slice::from_ref(&all), Some(&ceiling), &[])]);
        let (declared_needs, every_need) = (needs(&declared), needs(&all));
        for operation in operations() {
            let each = [
                allowed(&declared_needs, &wide_open, &operation),
                allowed(&every_need, &only_granted, &operation),
                allowed(&every_need, &only_ceiling, &operation),
            ];
            let got = allowed(&declared_needs, &policy, &operation);
            assert_eq!(got, each == [true; 3], "{operation:?} {declared:?} {granted:?} {ceiling:?}");
            if got { yes += 1 } else { no += 1 }
        }
    }
    assert!(yes > 100 && no > 100, "the vocabulary meets often enough: {yes} {no}");
}

#[test]
fn a_grant_never_takes_away_and_a_ceiling_is_monotone() {
    let mut dice = Dice(2);
    let every_need = needs(&everything());
    for _ in 0..ROUNDS {
        let (granted, more) = (dice.some(&RIGHTS, 8), dice.some(&RIGHTS, 3));
        let (ceiling, higher) = (dice.some(&RIGHTS, 8), dice.some(&RIGHTS, 4));
        let raised: Vec<&Right> = ceiling.iter().chain(&higher).copied().collect();
        let before = site(vec![policy_file("p", std::slice::from_ref(&granted), Some(&ceiling), &[])]);
        let granted_more =
            site(vec![policy_file("p", &[granted.clone(), more.clone()], Some(&ceiling), &[])]);
        let in_another_file = site(vec![
            policy_file("a", std::slice::from_ref(&granted), Some(&ceiling), &[]),
            policy_file("b", std::slice::from_ref(&more), None, &[]),
        ]);
        let with_higher = site(vec![policy_file("p", std::slice::from_ref(&granted), Some(&raised), &[])]);
        let without = site(vec![policy_file("p", std::slice::from_ref(&granted), None, &[])]);
        let two_ceilings = site(vec![
            policy_file("a", std::slice::from_ref(&granted), Some(&ceiling), &[]),
            policy_file("b", &[], Some(&higher), &[]),
        ]);
        for operation in operations() {
            let may = |policy: &Policy| allowed(&every_need, policy, &operation);
            if may(&before) {
                for wider in [&granted_more, &in_another_file, &with_higher, &without] {
                    assert!(may(wider), "{operation:?}: a wider policy took it away");
                }
            }
            assert_eq!(may(&granted_more), may(&in_another_file), "{operation:?}: files add up");
            assert!(!may(&two_ceilings) || may(&before), "{operation:?}: a second ceiling gave it");
        }
    }
}

#[test]
fn a_file_of_the_command_line_only_narrows() {
    let mut dice = Dice(3);
    let every_need = needs(&everything());
    for round in 0..ROUNDS {
        let (granted, ceiling) = (dice.some(&RIGHTS, 10), dice.some(&RIGHTS, 12));
        let (narrow, low) = (dice.some(&RIGHTS, 10), dice.some(&RIGHTS, 12));
        let limit = (dice.roll(2) == 0).then_some(low.as_slice());
        let narrowing = || policy_file("n", std::slice::from_ref(&narrow), limit, &[]);
        let base = match round % 4 {
            0 => Policy::default(),
            1 => site(vec![policy_file("p", std::slice::from_ref(&granted), None, &[])]),
            _ => site(vec![policy_file("p", std::slice::from_ref(&granted), Some(&ceiling), &[])]),
        };
        let both = base.clone().narrowed_by(narrowing()).unwrap();
        let alone = site(vec![narrowing()]);
        for operation in operations() {
            let got = allowed(&every_need, &both, &operation);
            let each = allowed(&every_need, &base, &operation) && allowed(&every_need, &alone, &operation);
            assert_eq!(got, each, "{operation:?}: both must agree");
        }
    }
}

#[test]
fn never_holds_whatever_is_granted_and_takes_nothing_else() {
    let mut dice = Dice(4);
    let all = everything();
    let every_need = needs(&all);
    let open = |never: &[&Right]| site(vec![policy_file("p", std::slice::from_ref(&all), None, never)]);
    for _ in 0..ROUNDS / 4 {
        let never = [dice.pick(&RIGHTS)];
        let policy = open(&never);
        let refused = needs(&never);
        for operation in operations() {
            let needed = Effective::new(&Identity::named("e"), &refused, &open(&[]), &[]);
            // What the refused right alone would allow is refused; what does not touch it at all is not.
            if decide(&needed, &operation).is_allowed() {
                assert!(!allowed(&every_need, &policy, &operation), "{operation:?} {never:?}");
            }
        }
        let untouched = Operation::EmitImage { format: "raw".to_owned() };
        assert_eq!(allowed(&every_need, &policy, &untouched), allowed(&every_need, &open(&[]), &untouched));
    }
    let tree = Operation::RemoveTree { path: "/etc".to_owned() };
    assert!(
        !allowed(&every_need, &open(&[&("target.write", "/etc/motd")]), &tree),
        "a tree holds what is in it"
    );
}
