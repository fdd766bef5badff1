//! A component that is nothing but a manifest: enough for whatever looks at needs and digests without running it. Called by tests of policies
//! and locks.

use std::fs;

use crate::dibw::Dibw;

/// A component called `motd` that says what it needs, and can do nothing.
///
/// # Panics
/// When the needs are too many to be counted.
#[must_use]
pub fn component(needs: &[(&str, &str)]) -> Vec<u8> {
    let needs: Vec<_> = needs.iter().map(|(c, v)| serde_json::json!({"capability": c, "value": v})).collect();
    let hooks = [serde_json::json!({"phase": "install"})];
    let manifest =
        serde_json::json!({"id": "motd", "version": "1", "api": "0.1", "hooks": hooks, "needs": needs})
            .to_string();
    let name = b"dibw:manifest";
    let mut section = vec![u8::try_from(name.len()).unwrap()];
    section.extend(name);
    section.extend(manifest.as_bytes());
    let mut bytes = b"\0asm\x0d\0\x01\0\0".to_vec();
    let mut length = section.len();
    while length >= 0x80 {
        bytes.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    bytes.push(u8::try_from(length).unwrap());
    bytes.extend(section);
    bytes
}

/// A `dibw` with the component among its elements, in `e/motd.wasm`.
///
/// # Panics
/// When it can't be written.
#[must_use]
pub fn with_motd(needs: &[(&str, &str)]) -> Dibw {
    let dibw = Dibw::new();
    let elements = dibw.dir().join("e");
    fs::create_dir_all(&elements).unwrap();
    fs::write(elements.join("motd.wasm"), component(needs)).unwrap();
    dibw.elements(elements)
}
