//! `dibw lock` as a user sees it: what was looked at stays, what grew is told.

use std::fs;

use dibw_tests::component::{component, with_motd};
use dibw_tests::dibw::{Dibw, Ran};

const NEEDS: [(&str, &str); 3] =
    [("target.write", "/etc/**"), ("target.write_privileged", "cron"), ("packages.install", "figlet")];

fn ran(dibw: Dibw, args: &[&str]) -> (Ran, Dibw) {
    let dibw = dibw.again().args(args);
    (dibw.run(), dibw)
}

#[test]
fn a_lock_holds_elements_to_what_was_looked_at() {
    let (taken, dibw) = ran(with_motd(&NEEDS[..1]), &["lock", "update", "motd", "fake-os"]);
    assert_eq!(taken.code, 0, "{}", taken.stderr);
    assert!(
        taken.stdout.contains("motd: is not in the lock\n  WIDENED  target.write /etc/**  (risk 2)\n"),
        "{}",
        taken.stdout
    );
    let (same, dibw) = ran(dibw, &["lock", "check"]);
    assert_eq!((same.code, same.stdout.as_str()), (0, "nothing changed\n"));
    let (planned, dibw) = ran(dibw, &["plan", "fake-os", "motd", "-n", "-t", "tar"]);
    assert_eq!(planned.code, 0, "{}", planned.stderr);
    fs::write(dibw.dir().join("e/motd.wasm"), component(&NEEDS)).unwrap();
    let (changed, dibw) = ran(dibw, &["lock", "check"]);
    assert_eq!(changed.code, 3);
    assert!(changed.stdout.contains("  WIDENED  packages.install figlet  (risk 3)\n"), "{}", changed.stdout);
    let (refused, dibw) = ran(dibw, &["plan", "fake-os", "motd", "-n", "-t", "tar"]);
    assert_eq!(refused.code, 3);
    assert!(
        refused.stderr.starts_with("error: not as dibw.lock has it: motd: component was sha256:"),
        "{}",
        refused.stderr
    );
    assert!(refused.stderr.contains("WIDENED  packages.install figlet"), "{}", refused.stderr);
    let (grown, dibw) = ran(dibw, &["lock", "update"]);
    assert_eq!(grown.code, 3);
    assert!(grown.stderr.contains("hint: when that is right: dibw lock update --accept"), "{}", grown.stderr);
    assert_eq!(ran(dibw, &["lock", "check"]).0.code, 3, "nothing was written");
}

#[test]
fn what_grew_is_taken_in_when_accepted() {
    let (_, dibw) = ran(with_motd(&NEEDS[..1]), &["lock", "update", "motd"]);
    fs::write(dibw.dir().join("e/motd.wasm"), component(&NEEDS)).unwrap();
    let (accepted, dibw) = ran(dibw, &["lock", "update", "--accept"]);
    assert_eq!(accepted.code, 0, "{}", accepted.stderr);
    assert_eq!(ran(dibw, &["lock", "check"]).0.code, 0);
}
