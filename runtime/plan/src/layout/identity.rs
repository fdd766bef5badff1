//! Identifiers of disks, partitions and file systems, derived from a seed, so that the same build makes the same image.
//! Called by the other modules of `layout` and by the engine.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// A UUID of the random kind (RFC 9562 version 4) for the thing called `what`: the same for the same seed, unlike any other.
pub fn derive_uuid(seed: &[u8], what: &str) -> String {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest(seed, what)[..16]);
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
    }
    text
}

/// The identifier of an MBR, never 0: Linux takes 0 for "none".
pub fn derive_disk_id(seed: &[u8], what: &str) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&digest(seed, what)[..4]);
    u32::from_le_bytes(bytes).max(1)
}

/// Lengths go in too, so that no seed and name can stand for another pair.
fn digest(seed: &[u8], what: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"dibw identity 1\0");
    hash.update((seed.len() as u64).to_le_bytes());
    hash.update(seed);
    hash.update(what.as_bytes());
    hash.finalize().into()
}

/// Whether a text is a UUID as mkfs takes it.
pub(super) fn is_uuid(text: &str) -> bool {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_depend_on_seed_and_name_only() {
        let uuid = derive_uuid(b"seed", "a");
        assert_eq!(uuid, derive_uuid(b"seed", "a"));
        assert_ne!(uuid, derive_uuid(b"other", "a"));
        assert_ne!(uuid, derive_uuid(b"seed", "b"));
        assert_ne!(derive_uuid(b"ab", "c"), derive_uuid(b"a", "bc"));
        assert!(is_uuid(&uuid), "{uuid}");
        assert_eq!(&uuid[14..15], "4", "{uuid}");
        assert!(matches!(&uuid[19..20], "8" | "9" | "a" | "b"), "{uuid}");
        assert_ne!(derive_disk_id(b"seed", "a"), derive_disk_id(b"seed", "b"));
    }

    #[test]
    fn texts_that_are_no_uuids() {
        for text in
            ["", "root-uuid-1234", "0123456789abcdef0123456789abcdef", "0000000g-0000-4000-8000-000000000000"]
        {
            assert!(!is_uuid(text), "{text}");
        }
    }
}
