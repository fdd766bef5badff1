//! What partition type codes mean in a GUID partition table.
//!
//! Owns the table from the four-digit codes of GPT fdisk (`sgdisk -t`) to type GUIDs. Must not know who wrote the
//! code down. Called by `layout::images`, so that an unknown code is found before anything is made, and by the engine.
//!
//! Source: what `sgdisk -i` of GPT fdisk 1.0.9 reports after `sgdisk -t 1:CODE`; a test in `tests/image` asks it
//! again for every line. The GUIDs themselves are the UEFI specification's, the UAPI group's Discoverable
//! Partitions Specification's, and each vendor's.

use uuid::{Uuid, uuid};

/// Code and type GUID, in order of code.
pub const TYPE_CODES: &[(u16, Uuid)] = &[
    (0x0700, uuid!("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7")), // Microsoft basic data
    (0x0701, uuid!("558d43c5-a1ac-43c0-aac8-d1472b2923d1")), // Microsoft Storage Replica
    (0x0702, uuid!("90b6ff38-b98f-4358-a21f-48f35b4a8ad3")), // ArcaOS Type 1
    (0x0c01, uuid!("e3c9e316-0b5c-4db8-817d-f92df00215ae")), // Microsoft reserved
    (0x2700, uuid!("de94bba4-06d1-4d40-a16a-bfd50179d6ac")), // Windows RE
    (0x3000, uuid!("7412f7d5-a156-4b13-81dc-867174929325")), // ONIE boot
    (0x3001, uuid!("d4e6e2cd-4469-46f3-b5cb-1bff57afc149")), // ONIE config
    (0x3900, uuid!("c91818f9-8025-47af-89d2-f030d7000c2c")), // Plan 9
    (0x4100, uuid!("9e1a2d38-c612-4316-aa26-8b49521e5a8b")), // PowerPC PReP boot
    (0x4200, uuid!("af9b60a0-1431-4f62-bc68-3311714a69ad")), // Windows LDM data
    (0x4201, uuid!("5808c8aa-7e8f-42e0-85d2-e1e90434cfb3")), // Windows LDM metadata
    (0x4202, uuid!("e75caf8f-f680-4cee-afa3-b001e56efc2d")), // Windows Storage Spaces
    (0x7501, uuid!("37affc90-ef7d-4e96-91c3-2d7ae055b174")), // IBM GPFS
    (0x7f00, uuid!("fe3a2a5d-4f32-41a7-b725-accc3285a309")), // ChromeOS kernel
    (0x7f01, uuid!("3cb8e202-3b7e-47dd-8a3c-7ff2a13cfcec")), // ChromeOS root
    (0x7f02, uuid!("2e0a753d-9e48-43b0-8337-b15192cb1b5e")), // ChromeOS reserved
    (0x7f03, uuid!("cab6e88e-abf3-4102-a07a-d4bb9be3c1d3")), // ChromeOS firmware
    (0x7f04, uuid!("09845860-705f-4bb5-b16c-8a8a099caf52")), // ChromeOS mini-OS
    (0x7f05, uuid!("3f0f8318-f146-4e6b-8222-c28c8f02e0d5")), // ChromeOS hibernate
    (0x8200, uuid!("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f")), // Linux swap
    (0x8300, uuid!("0fc63daf-8483-4772-8e79-3d69d8477de4")), // Linux filesystem
    (0x8301, uuid!("8da63339-0007-60c0-c436-083ac8230908")), // Linux reserved
    (0x8302, uuid!("933ac7e1-2eb4-4f13-b844-0e14e2aef915")), // Linux /home
    (0x8303, uuid!("44479540-f297-41b2-9af7-d131d5f0458a")), // Linux x86 root (/)
    (0x8304, uuid!("4f68bce3-e8cd-4db1-96e7-fbcaf984b709")), // Linux x86-64 root (/)
    (0x8305, uuid!("b921b045-1df0-41c3-af44-4c6f280d3fae")), // Linux ARM64 root (/)
    (0x8306, uuid!("3b8f8425-20e0-4f3b-907f-1a25a76f98e8")), // Linux /srv
    (0x8307, uuid!("69dad710-2ce4-4e3c-b16c-21a1d49abed3")), // Linux ARM32 root (/)
    (0x8308, uuid!("7ffec5c9-2d00-49b7-8941-3ea10a5586b7")), // Linux dm-crypt
    (0x8309, uuid!("ca7d7ccb-63ed-4c53-861c-1742536059cc")), // Linux LUKS
    (0x830a, uuid!("993d8d3d-f80e-4225-855a-9daf8ed7ea97")), // Linux IA-64 root (/)
    (0x830b, uuid!("d13c5d3b-b5d1-422a-b29f-9454fdc89d76")), // Linux x86 root verity
    (0x830c, uuid!("2c7357ed-ebd2-46d9-aec1-23d437ec2bf5")), // Linux x86-64 root verity
    (0x830d, uuid!("7386cdf2-203c-47a9-a498-f2ecce45a2d6")), // Linux ARM32 root verity
    (0x830e, uuid!("df3300ce-d69f-4c92-978c-9bfb0f38d820")), // Linux ARM64 root verity
    (0x830f, uuid!("86ed10d5-b607-45bb-8957-d350f23d0571")), // Linux IA-64 root verity
    (0x8310, uuid!("4d21b016-b534-45c2-a9fb-5c16e091fd2d")), // Linux /var
    (0x8311, uuid!("7ec6f557-3bc5-4aca-b293-16ef5df639d1")), // Linux /var/tmp
    (0x8312, uuid!("773f91ef-66d4-49b5-bd83-d683bf40ad16")), // Linux user's home
    (0x8313, uuid!("75250d76-8cc6-458e-bd66-bd47cc81a812")), // Linux x86 /usr
    (0x8314, uuid!("8484680c-9521-48c6-9c11-b0720656f69e")), // Linux x86-64 /usr
    (0x8315, uuid!("7d0359a3-02b3-4f0a-865c-654403e70625")), // Linux ARM32 /usr
    (0x8316, uuid!("b0e01050-ee5f-4390-949a-9101b17104e9")), // Linux ARM64 /usr
    (0x8317, uuid!("4301d2a6-4e3b-4b2a-bb94-9e0b2c4225ea")), // Linux IA-64 /usr
    (0x8318, uuid!("8f461b0d-14ee-4e81-9aa9-049b6fb97abd")), // Linux x86 /usr verity
    (0x8319, uuid!("77ff5f63-e7b6-4633-acf4-1565b864c0e6")), // Linux x86-64 /usr verity
    (0x831a, uuid!("c215d751-7bcd-4649-be90-6627490a4c05")), // Linux ARM32 /usr verity
    (0x831b, uuid!("6e11a4e7-fbca-4ded-b9e9-e1a512bb664e")), // Linux ARM64 /usr verity
    (0x831c, uuid!("6a491e03-3be7-4545-8e38-83320e0ea880")), // Linux IA-64 /usr verity
    (0x8400, uuid!("d3bfe2de-3daf-11df-ba40-e3a556d89593")), // Intel Rapid Start
    (0x8401, uuid!("7c5222bd-8f5d-4087-9c00-bf9843c7b58c")), // SPDK block device
    (0x8500, uuid!("5dfbf5f4-2848-4bac-aa5e-0d9a20b745a6")), // Container Linux /usr
    (0x8501, uuid!("3884dd41-8582-4404-b9a8-e9b84f2df50e")), // Container Linux resizable rootfs
    (0x8502, uuid!("c95dc21a-df0e-4340-8d7b-26cbfa9a03e0")), // Container Linux /OEM customizations
    (0x8503, uuid!("be9067b9-ea49-4f15-b4f6-f36f8c9e1818")), // Container Linux root on RAID
    (0x8e00, uuid!("e6d6d379-f507-44c2-a23c-238f2a3df928")), // Linux LVM
    (0xa500, uuid!("516e7cb4-6ecf-11d6-8ff8-00022d09712b")), // FreeBSD disklabel
    (0xa501, uuid!("83bd6b9d-7f41-11dc-be0b-001560b84f0f")), // FreeBSD boot
    (0xa502, uuid!("516e7cb5-6ecf-11d6-8ff8-00022d09712b")), // FreeBSD swap
    (0xa503, uuid!("516e7cb6-6ecf-11d6-8ff8-00022d09712b")), // FreeBSD UFS
    (0xa504, uuid!("516e7cba-6ecf-11d6-8ff8-00022d09712b")), // FreeBSD ZFS
    (0xa505, uuid!("516e7cb8-6ecf-11d6-8ff8-00022d09712b")), // FreeBSD Vinum/RAID
    (0xa600, uuid!("824cc7a0-36a8-11e3-890a-952519ad3f61")), // OpenBSD disklabel
    (0xa900, uuid!("516e7cb4-6ecf-11d6-8ff8-00022d09712b")), // FreeBSD disklabel
    (0xa901, uuid!("49f48d32-b10e-11dc-b99b-0019d1879648")), // NetBSD swap
    (0xa902, uuid!("49f48d5a-b10e-11dc-b99b-0019d1879648")), // NetBSD FFS
    (0xa903, uuid!("49f48d82-b10e-11dc-b99b-0019d1879648")), // NetBSD LFS
    (0xa904, uuid!("2db519c4-b10f-11dc-b99b-0019d1879648")), // NetBSD concatenated
    (0xa905, uuid!("2db519ec-b10f-11dc-b99b-0019d1879648")), // NetBSD encrypted
    (0xa906, uuid!("49f48daa-b10e-11dc-b99b-0019d1879648")), // NetBSD RAID
    (0xab00, uuid!("426f6f74-0000-11aa-aa11-00306543ecac")), // Recovery HD
    (0xaf00, uuid!("48465300-0000-11aa-aa11-00306543ecac")), // Apple HFS/HFS+
    (0xaf01, uuid!("52414944-0000-11aa-aa11-00306543ecac")), // Apple RAID
    (0xaf02, uuid!("52414944-5f4f-11aa-aa11-00306543ecac")), // Apple RAID offline
    (0xaf03, uuid!("4c616265-6c00-11aa-aa11-00306543ecac")), // Apple label
    (0xaf04, uuid!("5265636f-7665-11aa-aa11-00306543ecac")), // AppleTV recovery
    (0xaf05, uuid!("53746f72-6167-11aa-aa11-00306543ecac")), // Apple Core Storage
    (0xaf0a, uuid!("7c3457ef-0000-11aa-aa11-00306543ecac")), // Apple APFS
    (0xbe00, uuid!("6a82cb45-1dd2-11b2-99a6-080020736631")), // Solaris boot
    (0xbf00, uuid!("6a85cf4d-1dd2-11b2-99a6-080020736631")), // Solaris root
    (0xbf01, uuid!("6a898cc3-1dd2-11b2-99a6-080020736631")), // Solaris /usr & Mac ZFS
    (0xea00, uuid!("bc13c2ff-59e6-4262-a352-b275fd6f7172")), // XBOOTLDR partition
    (0xeb00, uuid!("42465331-3ba3-10f1-802a-4861696b7521")), // Haiku BFS
    (0xed00, uuid!("f4019732-066e-4e12-8273-346c5641494f")), // Sony system partition
    (0xed01, uuid!("bfbfafe7-a34f-448a-9a5b-6213eb736c22")), // Lenovo system partition
    (0xef00, uuid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")), // EFI system partition
    (0xef01, uuid!("024dee41-33e7-11d3-9d69-0008c781f39f")), // MBR partition scheme
    (0xef02, uuid!("21686148-6449-6e6f-744e-656564454649")), // BIOS boot partition
    (0xfb00, uuid!("aa31e02a-400f-11db-9590-000c2911d1b8")), // VMWare VMFS
    (0xfb01, uuid!("9198effc-31c0-11db-8f78-000c2911d1b8")), // VMWare reserved
    (0xfd00, uuid!("a19d880f-05fc-4d3b-a006-743f0f84911e")), // Linux RAID
];

/// The type GUID for a code of four hexadecimal digits, with or without `0x`, in either case, or for a GUID written
/// out; `None` when it is neither or the code is unknown.
pub fn type_guid(code: &str) -> Option<Uuid> {
    let code = code.trim();
    let digits = code.strip_prefix("0x").or_else(|| code.strip_prefix("0X")).unwrap_or(code);
    // `from_str_radix` would take a sign.
    if digits.len() == 4 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        let code = u16::from_str_radix(digits, 16).ok()?;
        let index = TYPE_CODES.binary_search_by_key(&code, |(code, _)| *code).ok()?;
        return Some(TYPE_CODES[index].1);
    }
    // The written-out form only; the parser alone would also take braces, URNs and bare digits.
    if code.len() == 36 { Uuid::try_parse(code).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_so_that_the_search_finds_them() {
        assert!(TYPE_CODES.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn codes_and_guids() {
        let esp = Some(uuid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b"));
        for (code, expected) in [
            ("EF00", esp),
            ("ef00", esp),
            ("0xEF00", esp),
            (" ef00 ", esp),
            ("C12A7328-F81F-11D2-BA4B-00A0C93EC93B", esp),
            ("EF02", Some(uuid!("21686148-6449-6e6f-744e-656564454649"))),
            ("8300", Some(uuid!("0fc63daf-8483-4772-8e79-3d69d8477de4"))),
            ("8200", Some(uuid!("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f"))),
            ("8E00", Some(uuid!("e6d6d379-f507-44c2-a23c-238f2a3df928"))),
            ("0x4100", Some(uuid!("9e1a2d38-c612-4316-aa26-8b49521e5a8b"))),
            ("ffff", None),
            ("+300", None),
            ("83", None),
            ("", None),
            ("{c12a7328-f81f-11d2-ba4b-00a0c93ec93b}", None),
            ("c12a7328f81f11d2ba4b00a0c93ec93b", None),
        ] {
            assert_eq!(type_guid(code), expected, "{code}");
        }
    }
}
