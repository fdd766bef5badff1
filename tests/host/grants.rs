//! What a guest asks for goes through the gate: allowed, refused, recorded; as spelled and as it lands.

mod support;

use dibw_host::{FailureKind, Limits};
use support::{Double, module, run};

/// Writes 3 bytes to the path at 2048 and returns what the host answered.
fn writes(path: &str, mode: u32) -> String {
    let body = format!(
        "(call $write (i32.const 2048) (i32.const {}) (i32.const 0) (i32.const 3) (i32.const {mode}) (i32.const 1024)) (i32.const 1024)",
        path.len()
    );
    module(path, "", &body)
}

#[test]
fn what_is_granted_is_done_and_recorded() {
    let (result, lent) =
        run(&writes("/etc//motd", 0o644), &["target.write /etc/motd"], Limits::default(), Double::default());
    assert_eq!(result, Ok(()));
    assert_eq!(lent.done, ["write /etc/motd 3 bytes 644"]);
    assert_eq!(lent.audit, ["allow target.write /etc/motd"]);
}

#[test]
fn what_is_not_declared_is_refused_with_the_line_to_add() {
    let (result, lent) =
        run(&writes("/etc/shadow", 0o644), &["target.write /etc/motd"], Limits::default(), Double::default());
    let failure = result.unwrap_err();
    assert_eq!(failure.exit_code(), 3);
    assert_eq!(
        failure.to_string(),
        "guest: install: target.write `/etc/shadow` refused: `guest` does not declare target.write /etc/shadow in its needs; \
         `guest` does not declare target.write_privileged accounts in its needs\n    at author\n  \
         hint: in the element's needs!: write \"/etc/shadow\";\n        in the element's needs!: privileged \"accounts\";"
    );
    let FailureKind::Denied(denial) = failure.kind else { panic!("{:?}", failure.kind) };
    assert_eq!(denial.subject, "/etc/shadow");
    assert_eq!(lent.done, Vec::<String>::new());
    assert_eq!(lent.audit, ["deny target.write /etc/shadow"]);
}

#[test]
fn a_guest_may_live_with_a_refusal() {
    let text = writes("/etc/shadow", 0o644)
        .replace("(i32.const 1024)) (i32.const 1024)", "(i32.const 1024)) (i32.const 0)");
    let (result, lent) = run(&text, &["target.write /etc/motd"], Limits::default(), Double::default());
    assert_eq!(result, Ok(()));
    assert_eq!(lent.done, Vec::<String>::new());
}

#[test]
fn a_planted_link_widens_nothing() {
    let needs = ["target.write /opt/**"];
    let links = vec![("/opt/link".to_owned(), "/etc/cron.d".to_owned())];
    let lent = Double { links, ..Double::default() };
    let (result, lent) = run(&writes("/opt/link/job", 0o644), &needs, Limits::default(), lent);
    assert_eq!(result.unwrap_err().exit_code(), 3);
    assert_eq!(lent.done, Vec::<String>::new());
    assert_eq!(lent.audit, ["allow target.write /opt/link/job", "deny target.write /etc/cron.d/job"]);

    let links = vec![("/opt/link".to_owned(), "/opt/real".to_owned())];
    let lent = Double { links, ..Double::default() };
    let (result, lent) = run(&writes("/opt/link/job", 0o644), &needs, Limits::default(), lent);
    assert_eq!(result, Ok(()));
    assert_eq!(lent.done, ["write /opt/real/job 3 bytes 644"]);
}

#[test]
fn escapes_are_refused_before_anything_is_resolved() {
    let everything = ["target.write /**", "target.write_privileged *"];
    for path in [
        "../etc/motd",
        "/../etc/motd",
        "/etc/../../x",
        "etc/motd",
        "/proc/self/root/etc",
        "/dev/sda",
        "/sys/x",
        "/a\\00b",
        "",
    ] {
        let (result, lent) = run(&writes(path, 0o644), &everything, Limits::default(), Double::default());
        assert!(result.is_err(), "{path}");
        assert_eq!(lent.done, Vec::<String>::new(), "{path}");
    }
    for mode in [0o4755, 0o2755, 0o1777, 0o100_644] {
        let (result, lent) = run(&writes("/opt/x", mode), &everything, Limits::default(), Double::default());
        assert!(result.is_err(), "{mode:o}");
        assert_eq!(lent.done, Vec::<String>::new(), "{mode:o}");
    }
}

#[test]
fn a_file_has_a_largest_size() {
    let limits = Limits { file_bytes: 2, ..Limits::default() };
    let (result, lent) = run(&writes("/opt/x", 0o644), &["target.write /opt/x"], limits, Double::default());
    let failure = result.unwrap_err();
    assert_eq!(failure.message, "/opt/x: 3 bytes are more than 2 bytes");
    assert_eq!(failure.kind, FailureKind::Returned);
    assert_eq!(lent.done, Vec::<String>::new());
}

#[test]
fn nothing_goes_on_unrecorded() {
    let lent = Double { audit_room: Some(0), ..Double::default() };
    let (result, lent) = run(&writes("/opt/x", 0o644), &["target.write /opt/x"], Limits::default(), lent);
    let failure = result.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Host);
    assert_eq!(failure.message, "the audit record cannot be written: audit.jsonl: no space left on device");
    assert_eq!(lent.done, Vec::<String>::new());
}

#[test]
fn an_error_of_the_machine_names_the_authors_function() {
    let body =
        "(call $read (i32.const 2048) (i32.const 9) (i64.const 0) (i64.const 99999999999) (i32.const 1024))
        (i32.store8 (i32.const 512) (i32.const 1))
        (memory.copy (i32.const 516) (i32.const 1028) (i32.const 64)) (i32.const 512)";
    let (result, lent) =
        run(&module("/etc/motd", "", body), &["target.read /etc/*"], Limits::default(), Double::default());
    assert_eq!(result.unwrap_err().to_string(), "guest: install: not found: /etc/motd\n    at author");
    assert_eq!(lent.done, ["read /etc/motd 16777216"]);
}

#[test]
fn log_lines_are_escaped() {
    let body = "(call $log (i32.const 2048) (i32.const 4) (i32.const 2052) (i32.const 11)) (i32.const 0)";
    let (result, lent) =
        run(&module("warna\\1b[2J\\0anext.", "", body), &[], Limits::default(), Double::default());
    assert_eq!(result, Ok(()));
    assert_eq!(lent.lines, ["Warn a\\u{1b}[2J", "Warn next."]);
}
