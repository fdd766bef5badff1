//! What is decided beside operations of typed elements: traffic of classic hooks, formats of images; and which rule stands for a need.

use super::*;
use crate::operation::Operation;
use crate::{Explanation, Side, confinement_of, decide, explain, file};

fn need(text: &str) -> Need {
    let (capability, value) = text.split_once(' ').unwrap();
    Need::new(capability.parse().unwrap(), value).unwrap()
}

fn site(text: &str) -> Policy {
    Policy::of_site(vec![
        file::parse("p.yaml", &format!("api: dibw/policy/v1\n{text}"), "2026-01-01").unwrap(),
    ])
    .unwrap()
}

#[test]
fn traffic_of_a_classic_hook_is_what_its_list_says() {
    let listed = site(
        "classic: {allow: [{element: e, level: strict, net: [{origin: \"https://a.example\"}, {address: 10.0.0.0/8}]}]}\n",
    );
    let of = |policy: &Policy| {
        let identity = Identity::named("e");
        let cage = confinement_of(&identity, Side::Outside, policy);
        Effective::of_traffic(&identity, &cage, policy).unwrap()
    };
    let rights = of(&listed).expect("there is a list");
    let asked = |url: &str, address: &str| Operation::Fetch {
        url: url.to_owned(),
        checksum: Checksum::None,
        addresses: vec![address.parse().unwrap()],
    };
    for (url, address, expected) in [
        ("https://a.example/x", "8.8.8.8", true),
        ("https://a.example/x", "10.1.2.3", true),
        ("https://a.example/x", "192.168.0.1", false),
        ("https://b.example/x", "8.8.8.8", false),
        ("http://a.example/x", "8.8.8.8", false),
    ] {
        assert_eq!(decide(&rights, &asked(url, address)).is_allowed(), expected, "{url} {address}");
    }
    assert_eq!(of(&site("classic: {allow: [{element: e, level: strict}]}\n")), None);
    assert_eq!(of(&Policy::default()), None);
}

#[test]
fn the_plan_says_which_rule_stands_for_a_need() {
    let granted = site("grants:\n  - element: {id: e}\n    allow:\n      target.write: [\"/etc/motd\"]\n");
    let standing = |policy: &Policy, text: &str| {
        Effective::new(&Identity::named("e"), &[], policy, &[]).standing(&need(text))
    };
    assert_eq!(standing(&granted, "target.write /etc/motd").as_deref(), Some("p.yaml:5"));
    assert_eq!(standing(&granted, "target.write /etc/*").as_deref(), Some("in part by p.yaml"));
    assert_eq!(standing(&granted, "packages.install curl").as_deref(), Some("not granted by p.yaml"));
    assert_eq!(standing(&Policy::default(), "packages.install curl"), None);
    let log = Need::new(Capability::Log, "").unwrap();
    assert_eq!(Effective::new(&Identity::named("e"), &[], &granted, &[]).standing(&log), None);
}

#[test]
fn only_a_ceiling_that_speaks_of_formats_keeps_the_runtime_from_them() {
    let emits = |policy: &Policy, format: &str| {
        decide(&Effective::of_runtime(policy), &Operation::EmitImage { format: format.to_owned() })
            .is_allowed()
    };
    let speaks = site("ceiling:\n  image.emit: [qcow2]\n");
    assert!(emits(&speaks, "qcow2") && !emits(&speaks, "raw"));
    let silent = site("ceiling:\n  target.write: [\"/etc/**\"]\n");
    assert!(emits(&silent, "qcow2") && emits(&Policy::default(), "raw"));
}

#[test]
fn a_ceiling_that_is_too_low_is_named_with_the_line_of_its_capability() {
    let policy = site(
        "ceiling:\n  target.read: [\"/srv/**\"]\n  target.write: [\"/etc/**\"]\ngrants:\n  - element: {id: e}\n    allow: {target.write: [\"/opt/a\"]}\n",
    );
    let effective = Effective::new(&Identity::named("e"), &[need("target.write /opt/a")], &policy, &[]);
    let explained = explain(&effective, &Operation::WriteFile { path: "/opt/a".to_owned(), mode: 0o644 });
    let Explanation::Judged { verdicts, .. } = explained else { panic!("it is judged") };
    let refusal = verdicts[0].refusals().next().expect("the ceiling refuses");
    assert_eq!(refusal.place.as_ref().map(|place| place.line), Some(4));
}
