//! What comes back from evaluating `environment.d`: any text is variables or refused, and what hooks in the target see of it keeps nothing
//! that steers a loader or shell.
#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dibw_compat::environment::{PATH, for_target, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // Half of the inputs are the text itself, half are what the text holds.
    let text = match bytes.split_first() {
        Some((first, rest)) if first % 2 == 0 => String::from_utf8_lossy(rest).into_owned(),
        Some((_, rest)) => STANDARD.encode(rest),
        None => return,
    };
    let Ok(variables) = parse(&text) else { return };
    assert!(variables.keys().all(|name| !name.contains(['=', '\0'])));
    assert!(variables.values().all(|value| !value.contains('\0')));
    let seen = for_target(&variables, "/tools");
    assert_eq!(seen["PATH"], format!("/tools:{PATH}"));
    assert!(
        seen.keys().all(|name| !name.starts_with("LD_") && !name.starts_with("BASH_FUNC_")),
        "{seen:?}"
    );
    assert!(["ENV", "BASH_ENV", "IFS", "SHELLOPTS"].iter().all(|name| !seen.contains_key(*name)), "{seen:?}");
});
