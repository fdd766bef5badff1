//! Requests of elements through the one function that decides, under needs and policies of any content. It never panics; nothing is
//! allowed without a need; more needs or grants never take anything away; a ceiling never gives anything.
#![no_main]

use std::net::IpAddr;

use dibw_policy::{
    Access, BootLoader, Capability, Checksum, Decision, Effective, Identity, MountKind, Need, Operation, Policy,
    ServiceAction, decide, file,
};
use libfuzzer_sys::arbitrary::{Arbitrary, Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

/// Values that mean something, so that requests and needs meet; and any other text.
const WORDS: [&str; 32] = [
    "/etc/**", "/etc/motd", "/**", "/", "/etc/*", "/etc/ssh/sshd_config", "/usr/local/bin/x", "/etc/cron.d/x", "/proc/1",
    "/usr/bin/env", "/usr/bin/env A B", "/usr/bin/env **", "*", "cron", "binpaths", "vim", "vi*", "enable ssh.service",
    "enable *", "mask x", "ssh.service", "DIB_X", "DIB_*", "PATH", "https://a.example/x", "https://a.example/ none",
    "https://127.0.0.1/x none", "127.0.0.0/8", "64MiB", "key file /etc/**", "key header https://a.example", "tmpfs /tmp/**",
];

#[derive(Debug)]
struct Input {
    operation: Operation,
    needs: Vec<Need>,
    more: Vec<Need>,
    granted: Vec<Need>,
    ceiling: Vec<Need>,
}

fn text(u: &mut Unstructured<'_>) -> Result<String> {
    if u.ratio(1, 8)? { String::arbitrary(u) } else { Ok((*u.choose(&WORDS)?).to_owned()) }
}

fn needs(u: &mut Unstructured<'_>) -> Result<Vec<Need>> {
    let mut all = Vec::new();
    for _ in 0..u.int_in_range(0..=4)? {
        let capability = *u.choose(&Capability::ALL)?;
        all.extend(Need::new(capability, &text(u)?));
    }
    Ok(all)
}

fn operation(u: &mut Unstructured<'_>) -> Result<Operation> {
    let (path, name) = (text(u)?, text(u)?);
    Ok(match u.int_in_range(0..=36)? {
        0 => Operation::ReadFile { path },
        1 => Operation::Stat { path },
        2 => Operation::ListDirectory { path },
        3 => Operation::ReadLink { path },
        4 => Operation::WriteFile { path, mode: u.arbitrary()? },
        5 => Operation::MakeDirectory { path, mode: u.arbitrary()? },
        6 => Operation::Symlink { path, target: name },
        7 => Operation::Rename { from: path, to: name },
        8 => Operation::RenameTree { from: path, to: name },
        9 => Operation::Remove { path },
        10 => Operation::RemoveTree { path },
        11 => Operation::SetMode { path, mode: u.arbitrary()? },
        12 => Operation::SetOwner { path, uid: u.arbitrary()?, gid: u.arbitrary()? },
        13 => Operation::InstallPackage { name },
        14 => Operation::RemovePackage { name },
        15 => Operation::SetService { action: *u.choose(&ServiceAction::ALL)?, unit: name },
        16 => Operation::AddUser { name, uid: u.arbitrary()?, groups: vec![path] },
        17 => Operation::AddGroup { name },
        18 => Operation::SetAuthorizedKeys { name },
        19 => Operation::GrantSudo { name },
        20 => Operation::Execute { argv: vec![path, name] },
        21 => Operation::GetVariable { name },
        22 => Operation::SetVariable { name },
        23 => Operation::AddRepository { id: name },
        24 => {
            let addresses: Vec<IpAddr> = Vec::arbitrary(u)?;
            Operation::Fetch { url: name, checksum: *u.choose(&Checksum::ALL)?, addresses }
        }
        25 => Operation::ReadInput { name },
        26 => Operation::WriteSecret { name, path },
        27 => Operation::SendSecret { name, origin: path },
        28 => Operation::UseCache { bytes: u.arbitrary()? },
        29 => Operation::ContributeLayout { kind: name },
        30 => Operation::RequestMount { kind: *u.choose(&MountKind::ALL)?, path },
        31 => Operation::AddKernelArgument { key: name, value: path },
        32 => Operation::LoadKernelModule { name },
        33 => Operation::SetSysctl { key: name, value: path },
        34 => Operation::InstallBootloader { kind: *u.choose(&BootLoader::ALL)? },
        35 => Operation::EmitImage { format: name },
        _ => Operation::Preopen { path, access: if u.arbitrary()? { Access::Read } else { Access::Write } },
    })
}

impl Arbitrary<'_> for Input {
    fn arbitrary(u: &mut Unstructured<'_>) -> Result<Self> {
        let operation = operation(u)?;
        Ok(Input { operation, needs: needs(u)?, more: needs(u)?, granted: needs(u)?, ceiling: needs(u)? })
    }
}

/// A policy file with these rules; none when the format refuses one of them.
fn policy(granted: &[Need], ceiling: Option<&[Need]>) -> Option<Policy> {
    let rules = |needs: &[Need]| {
        let mut map = serde_json::Map::new();
        for need in needs {
            let values = map.entry(need.capability().name()).or_insert_with(|| json!([]));
            values.as_array_mut()?.push(json!(need.value()));
        }
        Some(map)
    };
    let mut document = json!({"api": file::API, "name": "fuzz"});
    document["grants"] = json!([{"element": {"id": "x"}, "allow": rules(granted)?, "i_understand": "a fuzz target"}]);
    if let Some(ceiling) = ceiling {
        document["ceiling"] = json!(rules(ceiling)?);
    }
    let file = file::parse("policy.yaml", &document.to_string(), "2026-11-21").ok()?;
    Policy::of_site(vec![file]).ok()
}

fuzz_target!(|input: Input| {
    let Input { operation, needs, more, granted, ceiling } = &input;
    let both: Vec<Need> = needs.iter().chain(more).cloned().collect();
    let under = |needs: &[Need], policy: &Policy| decide(&Effective::new(&Identity::named("x"), needs, policy, &[]), operation);
    let built_in = Policy::default();

    assert!(!under(&[], &built_in).is_allowed(), "allowed without a need");
    let first = under(needs, &built_in);
    if let Decision::Deny(denial) = &first {
        assert!(!denial.rule.is_empty() && denial.subject.chars().all(|c| !c.is_control()), "{denial:?}");
    }
    if first.is_allowed() {
        assert!(under(&both, &built_in).is_allowed(), "more needs take away");
    }
    let Some(plain) = policy(granted, None) else { return };
    let decision = under(needs, &plain);
    if decision.is_allowed() {
        assert!(under(&both, &plain).is_allowed(), "more needs take away under a policy");
        // What is risky is granted by hand, or by a file.
        let risky = needs.iter().any(|need| need.risk() > 3);
        assert!(first.is_allowed() || risky, "a policy file gives more than the needs");
        let wider: Vec<Need> = granted.iter().chain(more).cloned().collect();
        if let Some(wider) = policy(&wider, None) {
            assert!(under(needs, &wider).is_allowed(), "more grants take away");
        }
    }
    let Some(below) = policy(granted, Some(ceiling)) else { return };
    if under(needs, &below).is_allowed() {
        assert!(decision.is_allowed(), "a ceiling gives");
        assert!(under(needs, &policy(ceiling, None).unwrap_or_default()).is_allowed(), "above the ceiling");
    }
});
