//! Owns showing the owners of a tree as a sandbox must see them through a mount without an id map: shifted, in attributes
//! and inside the extended attributes that have ids in them.
//! Must not know which files these are. Called by `server`.

use crate::userns::COUNT;

/// Whoever an idmapped mount can't show; the kernel's default.
const NOBODY: u32 = 65_534;
/// `XATTR_POSIX_ACL_*`, where ids of users and groups are.
const ACL_PREFIX: &[u8] = b"system.posix_acl_";
/// Bytes of `struct posix_acl_xattr_header` and of each `struct posix_acl_xattr_entry` (tag, permissions, id).
const ACL_HEADER: usize = 4;
const ACL_ENTRY: usize = 8;
/// `ACL_USER` and `ACL_GROUP`: the tags of entries with an id.
const ACL_NAMED: [u16; 2] = [0x02, 0x08];
const CAPABILITY: &[u8] = b"security.capability";
/// `VFS_CAP_REVISION_MASK`, `_2` and `_3` of `linux/capability.h`. The third is the second with the id of a root behind it.
const REVISIONS: u32 = 0xFF00_0000;
const REVISION_2: u32 = 0x0200_0000;
const REVISION_3: u32 = 0x0300_0000;

/// Which id of the host root of the tree is shown as; 0 shows all owners as they are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shift(pub u32);

impl Shift {
    /// An owner as it is shown.
    pub fn shown(self, id: u32) -> u32 {
        match self.0 {
            0 => id,
            base if id < COUNT => base + id,
            _ => NOBODY,
        }
    }

    /// The value of an attribute as an idmapped mount would show it.
    pub fn value(self, name: &[u8], mut value: Vec<u8>) -> Vec<u8> {
        if self.0 == 0 {
            return value;
        }
        if name.starts_with(ACL_PREFIX) {
            for entry in value.get_mut(ACL_HEADER..).unwrap_or_default().chunks_exact_mut(ACL_ENTRY) {
                if ACL_NAMED.contains(&u16::from_le_bytes([entry[0], entry[1]])) {
                    let id = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
                    entry[4..].copy_from_slice(&self.shown(id).to_le_bytes());
                }
            }
        } else if name == CAPABILITY {
            self.shift_capability(&mut value);
        }
        value
    }

    fn shift_capability(self, value: &mut Vec<u8>) {
        let Some((head, rest)) = value.split_first_chunk_mut::<4>() else { return };
        let flags = u32::from_le_bytes(*head);
        let root = match (flags & REVISIONS, rest.len()) {
            (REVISION_2, 16) => 0,
            (REVISION_3, 20) => u32::from_le_bytes([rest[16], rest[17], rest[18], rest[19]]),
            _ => return,
        };
        *head = (flags & !REVISIONS | REVISION_3).to_le_bytes();
        value.truncate(20);
        value.extend_from_slice(&self.shown(root).to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_shifted_as_by_an_idmapped_mount() {
        for (base, id, shown) in [
            (0, 33, 33),
            (0, 70_000, 70_000),
            (100_000, 33, 100_033),
            (100_000, 65_535, 165_535),
            (100_000, 65_536, NOBODY),
        ] {
            assert_eq!(Shift(base).shown(id), shown, "{id} by {base}");
        }
    }

    #[test]
    fn ids_in_attributes_are_shifted() {
        let acl = |id: u32| {
            let mut value = 2u32.to_le_bytes().to_vec();
            for (tag, id) in [(1u16, u32::MAX), (2, id), (4, u32::MAX), (8, id), (0x20, u32::MAX)] {
                value.extend(tag.to_le_bytes());
                value.extend(6u16.to_le_bytes());
                value.extend(id.to_le_bytes());
            }
            value
        };
        let capability = |head: u32, root: Option<u32>| {
            let mut value = head.to_le_bytes().to_vec();
            value.extend([7; 16]);
            value.extend(root.iter().flat_map(|root| root.to_le_bytes()));
            value
        };
        let shift = Shift(100_000);
        assert_eq!(shift.value(b"system.posix_acl_access", acl(5)), acl(100_005));
        assert_eq!(
            shift.value(CAPABILITY, capability(REVISION_2 | 1, None)),
            capability(REVISION_3 | 1, Some(100_000))
        );
        assert_eq!(
            shift.value(CAPABILITY, capability(REVISION_3, Some(7))),
            capability(REVISION_3, Some(100_007))
        );
        for (name, value) in [(&b"user.any"[..], acl(5)), (CAPABILITY, vec![1, 2]), (CAPABILITY, vec![0; 20])]
        {
            assert_eq!(shift.value(name, value.clone()), value);
        }
        assert_eq!(Shift(0).value(b"system.posix_acl_access", acl(5)), acl(5));
    }
}
