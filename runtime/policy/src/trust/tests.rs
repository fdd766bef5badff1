//! Who is admitted, by whom.

use super::*;
use crate::file::parse;

fn policy(texts: &[&str]) -> Policy {
    let read = |(index, text): (usize, &&str)| {
        let text = format!("api: dibw/policy/v1\ntrust: {{elements: {{{text}}}}}\n");
        parse(&format!("{index}.yaml"), &text, "2026-01-01").unwrap_or_else(|faults| panic!("{faults:?}"))
    };
    Policy::of_site(texts.iter().enumerate().map(read).collect()).unwrap()
}

fn admitted(signers: &[&str], policy: &Policy) -> Result<String, String> {
    let signers = signers.iter().map(|name| (*name).to_owned()).collect();
    match admit(&Identity { signers, ..Identity::named("e") }, policy) {
        Admission::Admitted { rule } => Ok(rule),
        Admission::Refused { rule, .. } => Err(rule),
    }
}

const A: &str = "any_of: [{kind: key, name: a, key: /a}]";
const B: &str = "any_of: [{kind: key, name: b, key: /b}, {kind: keyless, issuer: i, subject: s}]";
const UNSIGNED: &str = "any_of: [{kind: unsigned, i_understand: mine}]";
const TWO: &str = "any_of: [{kind: key, name: c, key: /c}, {kind: key, name: c2, key: /c}, {kind: key, name: a2, key: /a}], require_distinct_signers: 2";
const STRICT: &str = "any_of: [{kind: unsigned, i_understand: mine}], require_distinct_signers: 1";

#[test]
fn who_may_take_part() {
    let well = |signers: &[&str], texts: &[&str]| admitted(signers, &policy(texts)).is_ok();
    assert_eq!(admitted(&[], &Policy::default()), Ok("no policy asks for signatures".to_owned()));
    assert_eq!(admitted(&["a"], &policy(&[A])), Ok("signed by a (0.yaml:2)".to_owned()));
    assert_eq!(
        admitted(&[], &policy(&[A])),
        Err("0.yaml asks for 1 of its keys to have signed e, and none did".to_owned())
    );
    assert!(!well(&["x"], &[A]) && !well(&["i"], &[B]) && !well(&["s"], &[B]));
    // Entries of all files count.
    assert!(well(&["a"], &[A, B]) && well(&["b"], &[A, B]));
    assert_eq!(
        admitted(&[], &policy(&[A, UNSIGNED])),
        Ok("unsigned elements are accepted (mine) by 1.yaml:2".to_owned())
    );
    // The greatest number is asked for, of different keys; then unsigned does not count.
    assert!(well(&["a", "c"], &[A, TWO]) && !well(&["a"], &[A, TWO]));
    assert!(!well(&["c", "c2"], &[TWO]), "one key under two names");
    assert!(!well(&["a", "a2"], &[A, TWO]), "one key under two names");
    assert!(!well(&[], &[STRICT]) && !well(&[], &[UNSIGNED, TWO]));
    assert_eq!(
        admitted(&["a"], &policy(&[A, TWO])),
        Err("0.yaml, 1.yaml asks for 2 of its keys to have signed e, and 1 did".to_owned())
    );
}

#[test]
fn both_layers_must_admit() {
    let narrowing = |text: &str| {
        let text = format!("api: dibw/policy/v1\ntrust: {{elements: {{{text}}}}}\n");
        parse("n.yaml", &text, "2026-01-01").unwrap()
    };
    let both = policy(&[A]).narrowed_by(narrowing(B)).unwrap();
    assert!(admitted(&["a"], &both).is_err() && admitted(&["b"], &both).is_err());
    assert!(admitted(&["a", "b"], &both).is_ok());
    let silent = parse("n.yaml", "api: dibw/policy/v1\n", "2026-01-01").unwrap();
    let silent = policy(&[A]).narrowed_by(silent).unwrap();
    assert_eq!(admitted(&["a"], &silent), Ok("signed by a (0.yaml:2)".to_owned()));
}
