//! The keys of an image definition, in the order of the arguments that they become. Called by `image_yaml` only.

/// A key.
pub(super) struct Key {
    pub name: &'static str,
    pub kind: Kind,
    pub argument: Argument,
    pub help: &'static str,
}

/// What kind of value a key has.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Text,
    OneOf(&'static [&'static str]),
    /// 0, 1 or 2.
    Level,
    Flag,
    /// A whole number, at least 1.
    Whole,
    /// Strings.
    List,
    /// Words out of these.
    ListOf(&'static [&'static str]),
    /// Strings by name.
    Map,
}

impl Kind {
    /// In words, for messages.
    pub fn words(self) -> String {
        match self {
            Self::Text => "a string".to_owned(),
            Self::OneOf(words) => format!("one of {}", words.join(" ")),
            Self::Level => "0, 1 or 2".to_owned(),
            Self::Flag => "true or false".to_owned(),
            Self::Whole => "a whole number from 1".to_owned(),
            Self::List => "a list of strings".to_owned(),
            Self::ListOf(words) => format!("a list out of {}", words.join(" ")),
            Self::Map => "a mapping of strings".to_owned(),
        }
    }
}

/// What a key becomes.
#[derive(Clone, Copy)]
pub(super) enum Argument {
    /// No argument.
    None,
    /// This option, with the value if it is no flag; lists and maps joined by commas.
    Option(&'static str),
    /// The words themselves.
    Words,
}

const ARCHITECTURES: &[&str] =
    &["aarch64", "amd64", "arm64", "armhf", "powerpc", "ppc64", "ppc64el", "ppc64le", "s390x", "x86_64"];

const TYPES: &[&str] = &["qcow2", "tar", "tgz", "squashfs", "vhd", "docker", "aci", "raw"];

const fn key(name: &'static str, kind: Kind, argument: Argument, help: &'static str) -> Key {
    Key { name, kind, argument, help }
}

/// All keys.
pub(super) const KEYS: [Key; 27] = {
    use Argument::{None, Option, Words};
    use Kind::{Flag, Level, List, ListOf, Map, OneOf, Text, Whole};
    [
        key("imagename", Text, Option("-o"), "name of the image, and path prefix of its files"),
        key("arch", OneOf(ARCHITECTURES), Option("-a"), "architecture"),
        key("types", ListOf(TYPES), Option("-t"), "output types"),
        key("environment", Map, None, "variables for the build"),
        key("ramdisk", Flag, None, "make a ramdisk instead of a disk"),
        key("debug-trace", Level, Option("-x"), "tracing of hooks"),
        key("uncompressed", Flag, Option("-u"), "do not compress"),
        key("clear", Flag, Option("-c"), "start from an empty environment"),
        key("logfile", Text, Option("--logfile"), "where output goes too"),
        key("checksum", Flag, Option("--checksum"), "write MD5 and SHA-256 files"),
        key("image-size", Whole, Option("--image-size"), "size of the image in GiB"),
        key("image-extra-size", Whole, Option("--image-extra-size"), "room beside the tree in MiB"),
        key("image-cache", Text, Option("--image-cache"), "directory of downloads"),
        key("max-online-resize", Whole, Option("--max-online-resize"), "blocks that ext4 can grow to"),
        key("min-tmpfs", Whole, Option("--min-tmpfs"), "GiB of memory from which it is used"),
        key("mkfs-journal-size", Whole, Option("--mkfs-journal-size"), "journal in MiB"),
        key("mkfs-options", Text, Option("--mkfs-options"), "options for mkfs of the root file system"),
        key("no-tmpfs", Flag, Option("--no-tmpfs"), "work on disk, not in memory"),
        key("offline", Flag, Option("--offline"), "use caches only"),
        key("qemu-img-options", Map, Option("--qemu-img-options"), "options for qemu-img"),
        key("root-label", Text, Option("--root-label"), "label of the root file system"),
        key("ramdisk-element", Text, Option("--ramdisk-element"), "element that makes the ramdisk"),
        key("install-type", OneOf(&["source", "package"]), Option("--install-type"), "default install type"),
        key("docker-target", Text, Option("--docker-target"), "repository and tag"),
        key("packages", List, Option("-p"), "extra packages"),
        key("skip-base", Flag, Option("-n"), "leave out the element base"),
        key("elements", List, Words, "elements to build from"),
    ]
};
