//! A guest that will not stop, grow, recurse, flood or trap: each ends with the limit's name, and the host goes on.
#![expect(clippy::unwrap_used, reason = "a test that cannot make its guest fails")]

mod support;

use std::time::{Duration, Instant};

use dibw_host::{FailureKind, Limit, Limits};
use support::{Double, module, outcome, run, tight};

fn fails(text: &str, limits: Limits) -> (FailureKind, String) {
    let failure = run(text, &["target.write /etc/motd"], limits, Double::default()).0.unwrap_err();
    assert_eq!(
        (failure.element.as_str(), failure.phase.as_str(), failure.exit_code()),
        ("guest", "install", 1)
    );
    (failure.kind.clone(), failure.to_string())
}

#[test]
fn an_endless_loop_is_cut_at_the_budget() {
    let start = Instant::now();
    let (kind, said) = fails(&module("", "", "(loop (br 0)) unreachable"), tight());
    assert_eq!(kind, FailureKind::Limit(Limit::Time(Duration::from_millis(200))));
    assert_eq!(said, "guest: install: time limit of 0.2 s of its own code reached\n    at author");
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn the_hosts_time_is_not_the_guests() {
    let body = "(call $read (i32.const 2048) (i32.const 9) (i64.const 0) (i64.const 10) (i32.const 1024)) (i32.const 0)";
    let lent = Double { slow: Duration::from_millis(600), ..Double::default() };
    let ended = outcome(&module("/etc/motd", "", body), &["target.read /etc/motd"], tight(), lent);
    assert_eq!(ended.result, Ok(()));
    assert!(ended.usage.guest_time < Duration::from_millis(200), "{:?}", ended.usage);
    assert_eq!(ended.usage.host_calls, 1);
}

#[test]
fn memory_has_an_end() {
    let body = "(loop (br_if 0 (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable";
    let (kind, said) = fails(&module("", "", body), Limits::default());
    assert_eq!(kind, FailureKind::Limit(Limit::Memory(64 * 1024 * 1024)));
    assert_eq!(said, "guest: install: memory limit of 64 MiB reached\n    at author");
}

#[test]
fn a_guest_that_copes_with_the_memory_limit_goes_on() {
    let body = "(loop (br_if 0 (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) (i32.const 0)";
    assert_eq!(run(&module("", "", body), &[], Limits::default(), Double::default()).0, Ok(()));
}

#[test]
fn a_memory_that_starts_too_large_is_refused() {
    let text = module("", "", "(i32.const 0)")
        .replace("(memory (export \"memory\") 2)", "(memory (export \"memory\") 2000)");
    let (kind, _) = fails(&text, Limits::default());
    assert_eq!(kind, FailureKind::Limit(Limit::Memory(64 * 1024 * 1024)));
}

#[test]
fn a_table_has_an_end() {
    let body = "(drop (table.grow 0 (ref.null func) (i32.const 30000))) unreachable";
    let (kind, _) = fails(&module("", "", body), Limits::default());
    assert_eq!(kind, FailureKind::Limit(Limit::Table(20_000)));
}

#[test]
fn recursion_has_an_end() {
    let more = "(func $deeper (param i32) (result i32) (i32.add (i32.const 1) (call $deeper (local.get 0))))";
    let (kind, said) = fails(&module("", more, "(call $deeper (i32.const 0))"), Limits::default());
    assert_eq!(kind, FailureKind::Limit(Limit::Stack));
    assert_eq!(said, "guest: install: stack limit reached (endless recursion?)\n    at deeper");
}

#[test]
fn the_end_of_a_rust_guests_own_stack_is_a_stack_limit_too() {
    // As Rust lays memory out: each call takes 4 KiB of a stack that grows down to address 0.
    let more = "(global $sp (mut i32) (i32.const 65536))
        (func $deeper (global.set $sp (i32.sub (global.get $sp) (i32.const 4096)))
            (i32.store (global.get $sp) (i32.const 1)) (call $deeper))";
    let (kind, _) = fails(&module("", more, "(call $deeper) (i32.const 0)"), Limits::default());
    assert_eq!(kind, FailureKind::Limit(Limit::Stack));
}

#[test]
fn one_call_carries_no_more_than_a_file() {
    let body = "(call $write (i32.const 2048) (i32.const 9) (i32.const 0) (i32.const 30000000) (i32.const 420) (i32.const 1024)) (i32.const 1024)";
    let text = module("/etc/motd", "", body)
        .replace("(memory (export \"memory\") 2)", "(memory (export \"memory\") 600)");
    let (kind, said) = fails(&text, Limits::default());
    assert_eq!(kind, FailureKind::Limit(Limit::Copy(16 * 1024 * 1024 + 64 * 1024)));
    assert!(said.starts_with("guest: install: limit of 16448 KiB in one call reached"), "{said}");
}

#[test]
fn the_log_has_an_end() {
    let body = "(loop (call $log (i32.const 2048) (i32.const 4) (i32.const 0) (i32.const 10000)) (br 0)) unreachable";
    let (kind, said) = fails(&module("info", "", body), Limits::default());
    assert_eq!(kind, FailureKind::Limit(Limit::Log(1024 * 1024)));
    assert_eq!(said, "guest: install: log limit of 1 MiB reached\n    at author");
}

#[test]
fn calls_have_an_end() {
    let body = "(loop (call $config (i32.const 1024)) (br 0)) unreachable";
    let limits = Limits { host_calls: 1000, ..Limits::default() };
    let (kind, said) = fails(&module("", "", body), limits);
    assert_eq!(kind, FailureKind::Limit(Limit::Calls(1000)));
    assert_eq!(said, "guest: install: limit of 1000 calls to the host reached\n    at author");
}

#[test]
fn traps_and_panics_are_told_apart() {
    let (kind, said) = fails(&module("", "", "unreachable"), Limits::default());
    assert_eq!(kind, FailureKind::Trap);
    assert_eq!(said, "guest: install: wasm trap: wasm `unreachable` instruction executed\n    at author");

    let body = "(call $panicked (i32.const 2048) (i32.const 4) (i32.const 2052) (i32.const 10) (i32.const 14) (i32.const 9)) unreachable";
    let (kind, said) = fails(&module("boomsrc/lib.rs", "", body), Limits::default());
    assert_eq!(kind, FailureKind::Panic { file: "src/lib.rs".to_owned(), line: 14, column: 9 });
    assert_eq!(said, "guest: install: panicked at src/lib.rs:14:9: boom\n    at author");

    let (kind, _) = fails(&module("", "", "(i32.load (i32.const -4))"), Limits::default());
    assert_eq!(kind, FailureKind::Trap);
}

#[test]
fn each_call_gets_a_new_instance() {
    // Traps when the memory is not as the module says it is.
    let body = "(if (i32.load (i32.const 4096)) (then unreachable)) (i32.store (i32.const 4096) (i32.const 1)) (i32.const 0)";
    let bytes = support::component(&module("", "", body), Some(&support::manifest(&[])));
    let host = dibw_host::Host::without_cache().unwrap();
    let loaded = host.load(&bytes).unwrap();
    for _ in 0..3 {
        assert_eq!(host.run_hook(&loaded, support::call(&[], tight(), Double::default())).result, Ok(()));
    }
}

/// A hook of which all that the host does for it takes longer than it may.
#[test]
fn the_hosts_time_has_an_end_too() {
    let body = "(loop (call $read (i32.const 2048) (i32.const 9) (i64.const 0) (i64.const 10) (i32.const 1024)) (br 0)) unreachable";
    let limits = Limits { host_time: Duration::from_millis(300), ..tight() };
    let lent = Double { slow: Duration::from_millis(100), ..Double::default() };
    let ended = outcome(&module("/etc/motd", "", body), &["target.read /etc/motd"], limits, lent);
    let failure = ended.result.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Limit(Limit::HostTime(Duration::from_millis(300))));
    assert_eq!(
        failure.to_string(),
        "guest: install: time limit of 0.3 s for all that it asks for reached\n    at author"
    );
    assert!(ended.usage.host_calls <= 5, "{:?}", ended.usage);
}

#[test]
fn what_a_hook_returns_has_an_end() {
    // The error `invalid` with a text of 30 MB.
    let body = "(i32.store8 (i32.const 1024) (i32.const 1)) (i32.store8 (i32.const 1028) (i32.const 2))
        (i32.store (i32.const 1032) (i32.const 0)) (i32.store (i32.const 1036) (i32.const 30000000)) (i32.const 1024)";
    let text =
        module("", "", body).replace("(memory (export \"memory\") 2)", "(memory (export \"memory\") 600)");
    let (kind, said) = fails(&text, Limits::default());
    assert_eq!(kind, FailureKind::Limit(Limit::Copy(16 * 1024 * 1024 + 64 * 1024)));
    assert!(said.len() < 1000, "{} bytes", said.len());
}

#[test]
fn a_component_has_a_largest_size_before_it_is_compiled() {
    let refused = |bytes: &[u8]| match dibw_host::inspect(bytes) {
        Ok(_) => panic!("it was taken"),
        Err(error) => format!("{error:#}"),
    };
    let start = Instant::now();
    let plain = support::component(&module("", "", "(i32.const 0)"), Some(&support::manifest(&[])));

    let mut large = plain.clone();
    support::custom_section(&mut large, "padding", &vec![0; dibw_host::LARGEST]);
    assert!(refused(&large).starts_with("the component has "), "{}", refused(&large));

    // Many functions, each of a few bytes.
    let many = "(func)".repeat(100_001);
    let bytes = support::component(&module("", &many, "(i32.const 0)"), Some(&support::manifest(&[])));
    assert_eq!(refused(&bytes), "element guest: the component has more than 100000 functions");

    // Few functions of much code.
    let long = format!("(func {})", "(drop (i64.const 0x7fffffffffffffff))".repeat(150_000));
    let bytes =
        support::component(&module("", &long.repeat(10), "(i32.const 0)"), Some(&support::manifest(&[])));
    assert_eq!(refused(&bytes), "element guest: the component has more than 16 MiB of code");
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());

    // A file is not read to its end to find that out.
    let scratch = tempfile::NamedTempFile::new().unwrap();
    scratch.as_file().set_len(1 << 40).unwrap();
    let said = format!("{:#}", dibw_host::read_file(scratch.path()).unwrap_err());
    assert!(said.ends_with("has more than 67108864 bytes, which no component may have"), "{said}");
}
