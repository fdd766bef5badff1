//! Command lines of `disk-image-create` and its kin, and words written for a shell, read back as POSIX describes it.
#![no_main]

use std::collections::BTreeMap;

use dibw_compat::image_create::{self, Name};
use dibw_compat::shell_words::quote;
use libfuzzer_sys::fuzz_target;

/// What a shell makes of one word of literal characters and single or double quotes without anything special in them.
fn as_a_shell(word: &str) -> String {
    let mut read = String::new();
    let mut open = None;
    for c in word.chars() {
        match open {
            None if c == '\'' || c == '"' => open = Some(c),
            Some(quote) if c == quote => open = None,
            Some('"') => {
                assert!(!"$`\\".contains(c), "{word:?}: special in double quotes");
                read.push(c);
            }
            Some(_) => read.push(c),
            None => {
                assert!(c.is_ascii_alphanumeric() || "@%+=:,./-_".contains(c), "{word:?}: special outside of quotes");
                read.push(c);
            }
        }
    }
    assert_eq!(open, None, "{word:?}: a quote is not closed");
    read
}

fuzz_target!(|input: (u8, Vec<String>, Vec<(String, String)>)| {
    let (name, arguments, environment) = input;
    for word in arguments.iter().filter(|word| !word.contains('\0')) {
        assert_eq!(as_a_shell(&quote(word)), *word);
    }
    let name = if name % 2 == 0 { Name::Disk } else { Name::Ramdisk };
    let environment: BTreeMap<String, String> = environment.into_iter().collect();
    if let Err(faults) = image_create::parse(name, &arguments, &environment, "amd64") {
        assert!(!faults.to_string().is_empty(), "refused without a reason");
    }
});
