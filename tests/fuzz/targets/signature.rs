//! Signature files lie beside what strangers publish: any text is signatures or refused, what was read is written and read the same, and
//! without a key that is trusted nothing is vouched for.
#![no_main]

use dibw_signature::{Kind, SignatureFile, Statement, verify};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let Ok(file) = SignatureFile::parse(text) else { return };
    assert_eq!(SignatureFile::parse(file.text().as_bytes()).as_ref(), Ok(&file));
    let statement = Statement::about(Kind::Element, text);
    assert!(verify(&statement, &file, &[]).require(1).is_err(), "vouched for by nobody");
});
