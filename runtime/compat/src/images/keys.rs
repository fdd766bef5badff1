//! The keys of an image file and what kind of value each has. Called by `images` only.

/// A key.
pub(super) struct Key {
    pub name: &'static str,
    pub kind: Kind,
}

/// What kind of value a key has.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Text,
    OneOf(&'static [&'static str]),
    /// Above 0.
    Number,
    Flag,
    List,
    Map,
    Elements,
    /// A key of diskimage-builder that dibw has no way to follow: why. `false` is accepted.
    Refused(&'static str),
}

impl Kind {
    /// In words, for messages.
    pub fn words(self) -> &'static str {
        match self {
            Self::Text => "a string",
            Self::OneOf(_) => "a word",
            Self::Number => "a number above 0",
            Self::Flag => "true or false",
            Self::List => "a list of strings",
            Self::Map => "a mapping",
            Self::Elements => "a list of elements",
            Self::Refused(_) => "nothing",
        }
    }
}

const ARCHITECTURES: &[&str] =
    &["aarch64", "amd64", "arm64", "armhf", "powerpc", "ppc64", "ppc64el", "ppc64le", "s390x", "x86_64"];

const fn key(name: &'static str, kind: Kind) -> Key {
    Key { name, kind }
}

/// All keys.
pub(super) const KEYS: [Key; 27] = [
    key("imagename", Kind::Text),
    key("arch", Kind::OneOf(ARCHITECTURES)),
    key("types", Kind::List),
    key("environment", Kind::Map),
    key("ramdisk", Kind::Refused("ramdisk images are not made by this version")),
    key("debug-trace", Kind::OneOf(&["0", "1", "2"])),
    key("uncompressed", Kind::Flag),
    key("clear", Kind::Refused("hooks never see the caller's whole environment; leave it out")),
    key("logfile", Kind::Refused("redirect standard error instead: dibw build ... 2>FILE")),
    key("checksum", Kind::Flag),
    key("image-size", Kind::Number),
    key("image-extra-size", Kind::Number),
    key("image-cache", Kind::Text),
    key("max-online-resize", Kind::Number),
    key("min-tmpfs", Kind::Number),
    key("mkfs-journal-size", Kind::Number),
    key("mkfs-options", Kind::Text),
    key("no-tmpfs", Kind::Flag),
    key("offline", Kind::Flag),
    key("qemu-img-options", Kind::Map),
    key("root-label", Kind::Text),
    key("ramdisk-element", Kind::Refused("ramdisk images are not made by this version")),
    key("install-type", Kind::OneOf(&["source", "package"])),
    key("docker-target", Kind::Text),
    key("packages", Kind::List),
    key("skip-base", Kind::Flag),
    key("elements", Kind::Elements),
];
