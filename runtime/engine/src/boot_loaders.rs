//! The installers of boot loaders that the runtime knows: what each needs in the target, and the script that runs it in the target's
//! sandbox with the image's block devices. Callers: [`crate::lent`].
//!
//! The root file system's device and the disk are two loop devices without a common parent, so GRUB gets the drivers of partition tables
//! by name and finds its files by the UUID of their file system. The ESP is a directory whose files the runtime copies into the file
//! system afterwards; hence no installer is asked to look at it as a mount.

use dibw_policy::BootLoader;

/// How one is installed.
#[derive(Debug, PartialEq, Eq)]
pub struct Installer {
    /// Files that must be in the target, and the package that brings each where Debian's names are used.
    pub needs: &'static [(&'static str, &'static str)],
    /// Whether the disk must have an EFI system partition.
    pub esp: bool,
    /// For `sh`; `$1` is the disk, `$2` where the EFI system partition is.
    pub script: &'static str,
}

/// The menu names the root file system by label: the device that holds it now exists nowhere else. `/dev/loop0` to `/dev/loop9` mean files
/// to loop at boot to grub-mkconfig, so it is shown the device by another name.
macro_rules! menu {
    () => {
        r#"
mkdir -p /boot/grub /etc/default/grub.d
detour=/etc/default/grub.d/zz-dibw-build.cfg
ln -sfn "$(grub-probe --target=device /boot/grub)" /run/dibw-root
{
    echo GRUB_DEVICE_BOOT=/run/dibw-root
    if [ -n "${DIB_ROOT_LABEL:-}" ]; then
        echo "GRUB_DEVICE=LABEL=$DIB_ROOT_LABEL"
        echo GRUB_DISABLE_LINUX_UUID=true
        echo GRUB_DISABLE_LINUX_PARTUUID=true
    fi
} >"$detour"
grub-mkconfig -o /boot/grub/grub.cfg
rm -f "$detour" /run/dibw-root
"#
    };
}

const GRUB_PC: &str = concat!(
    "set -eu\n",
    menu!(),
    r#"exec grub-install --target=i386-pc --boot-directory=/boot --no-floppy --modules="part_gpt part_msdos" --locales= --fonts= --themes= "$1""#
);

const GRUB_EFI: &str = concat!(
    "set -eu\n",
    menu!(),
    r#"
case $(uname -m) in
    x86_64) format=x86_64-efi name=BOOTX64.EFI ;;
    aarch64) format=arm64-efi name=BOOTAA64.EFI ;;
    *) echo "GRUB for EFI is not known for $(uname -m)" >&2; exit 1 ;;
esac
early=$(mktemp)
cat >"$early" <<CONFIG
search.fs_uuid $(grub-probe --target=fs_uuid /boot/grub) root
set prefix=(\$root)'$(grub-mkrelpath /boot/grub)'
configfile \$prefix/grub.cfg
CONFIG
mkdir -p "$2/EFI/BOOT" "/boot/grub/$format"
grub-mkimage --format="$format" --prefix=/boot/grub --config="$early" --output="$2/EFI/BOOT/$name" \
    part_gpt part_msdos fat ext2 xfs btrfs lvm search search_fs_uuid search_label normal configfile linux echo test all_video gfxterm serial terminal boot
rm -f "$early"
cp "/usr/lib/grub/$format"/*.mod "/usr/lib/grub/$format"/*.lst "/boot/grub/$format/"
"#
);

/// bootctl asks for a mounted FAT file system; these are the files that it would copy there.
const SYSTEMD_BOOT: &str = r#"set -eu
case $(uname -m) in
    x86_64) file=systemd-bootx64.efi name=BOOTX64.EFI ;;
    aarch64) file=systemd-bootaa64.efi name=BOOTAA64.EFI ;;
    *) echo "systemd-boot is not known for $(uname -m)" >&2; exit 1 ;;
esac
mkdir -p "$2/EFI/BOOT" "$2/EFI/systemd" "$2/loader/entries"
cp "/usr/lib/systemd/boot/efi/$file" "$2/EFI/BOOT/$name"
cp "/usr/lib/systemd/boot/efi/$file" "$2/EFI/systemd/$file"
if [ ! -e "$2/loader/loader.conf" ]; then
    echo 'timeout 3' >"$2/loader/loader.conf"
fi
for kernel in /boot/vmlinuz-*; do
    [ -e "$kernel" ] || continue
    release=${kernel#/boot/vmlinuz-}
    kernel-install add "$release" "$kernel" "/boot/initrd.img-$release"
done
"#;

/// The installer of a boot loader.
pub const fn installer(kind: BootLoader) -> Installer {
    match kind {
        BootLoader::GrubPc => Installer {
            needs: &[
                ("/usr/sbin/grub-install", "grub2-common"),
                ("/usr/sbin/grub-mkconfig", "grub-common"),
                ("/usr/lib/grub/i386-pc/boot.img", "grub-pc-bin"),
            ],
            esp: false,
            script: GRUB_PC,
        },
        BootLoader::GrubEfi => Installer {
            needs: &[("/usr/bin/grub-mkimage", "grub-common"), ("/usr/sbin/grub-mkconfig", "grub-common")],
            esp: true,
            script: GRUB_EFI,
        },
        BootLoader::SystemdBoot => Installer {
            needs: &[
                ("/usr/lib/systemd/boot/efi", "systemd-boot-efi"),
                ("/usr/bin/kernel-install", "systemd"),
            ],
            esp: true,
            script: SYSTEMD_BOOT,
        },
    }
}
