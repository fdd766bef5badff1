//! URLs: what the policy takes is for a URL library the same server and path, spelled the same. Else one would be judged and another asked.
#![no_main]

use dibw_policy::{Capability, Checksum, Decision, Effective, Identity, Need, Operation, Policy, decide};
use libfuzzer_sys::fuzz_target;

fn with_need(value: &str, operation: &Operation) -> Option<Decision> {
    let need = Need::new(Capability::NetFetch, value).ok()?;
    Some(decide(&Effective::new(&Identity::named("x"), &[need], &Policy::default(), &[]), operation))
}

fuzz_target!(|text: &str| {
    let fetch = |url: &str| Operation::Fetch {
        url: url.to_owned(),
        checksum: Checksum::Required,
        addresses: Vec::new(),
    };
    let operation = fetch(text);
    let effective = Effective::new(&Identity::named("x"), &[], &Policy::default(), &[]);
    match decide(&effective, &operation) {
        Decision::Malformed { message } => {
            assert!(!message.is_empty());
            return;
        }
        Decision::Deny(_) => {}
        other => panic!("allowed without a need: {other:?}"),
    }
    let parsed = url::Url::parse(text).unwrap_or_else(|error| panic!("{text:?} is taken here: {error}"));
    assert!(matches!(parsed.scheme(), "http" | "https"));
    assert_eq!((parsed.username(), parsed.password(), parsed.fragment()), ("", None, None), "{text:?}");
    let host = parsed.host_str().expect("a URL with a server");
    let port = parsed.port_or_known_default().expect("a port");
    let query = parsed.query().map(|query| format!("?{query}")).unwrap_or_default();
    let spelled = format!("{}://{host}:{port}{}{query} required", parsed.scheme(), parsed.path());
    // A need made of the library's parts must cover it: then server, port, path and query are the same for both.
    let Some(decision) = with_need(&spelled, &operation) else {
        // A path with a `*`, or more than a need may be long: such a need there is not.
        assert!(parsed.path().contains('*') || spelled.len() > 1024, "{spelled:?} is no need");
        return;
    };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>().is_ok();
    match decision {
        Decision::Allow { .. } => {}
        // The address itself may need more, or be forbidden.
        Decision::Deny(denial) => {
            assert!(address && denial.capability == Capability::NetAddress, "{text:?}: {denial}")
        }
        other => panic!("{text:?}: {other:?}"),
    }
    if !address && port != 1 {
        let elsewhere = format!("{}://{host}:1{} required", parsed.scheme(), parsed.path());
        let decision = with_need(&elsewhere, &operation).expect("a need");
        assert!(!decision.is_allowed(), "{elsewhere} covers {text}");
    }
});
