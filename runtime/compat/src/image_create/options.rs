//! The options of `disk-image-create` and `ramdisk-image-create`, each with what it is for: the parser and the usage text have one list.

use dibw_plan::{Fault, FaultKind, Faults};

use crate::getopt::{self, Known};

/// Which of the two commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// `disk-image-create`
    Disk,
    /// `ramdisk-image-create`
    Ramdisk,
}

impl Name {
    /// As it is called.
    pub fn text(self) -> &'static str {
        match self {
            Self::Disk => "disk-image-create",
            Self::Ramdisk => "ramdisk-image-create",
        }
    }
}

/// What an option sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sets {
    Variable(&'static str),
    Flag(&'static str),
    Trace,
    Types,
    Packages,
    Uncompressed,
    Clear,
    Push,
    Help,
    Version,
}

struct Described {
    known: Known,
    sets: Sets,
    value: &'static str,
    text: &'static str,
}

const fn valued(
    short: Option<char>,
    long: Option<&'static str>,
    sets: Sets,
    value: &'static str,
    text: &'static str,
) -> Described {
    Described { known: Known { short, long, value: true }, sets, value, text }
}

const fn plain(short: Option<char>, long: Option<&'static str>, sets: Sets, text: &'static str) -> Described {
    Described { known: Known { short, long, value: false }, sets, value: "", text }
}

const OPTIONS: [Described; 27] = [
    plain(Some('h'), Some("help"), Sets::Help, "show this and exit"),
    plain(None, Some("version"), Sets::Version, "show the version and exit"),
    valued(Some('a'), None, Sets::Variable("ARCH"), "ARCH", "target architecture [this machine's]"),
    valued(Some('o'), None, Sets::Variable("IMAGE_NAME"), "NAME", "path prefix of what is made [image]"),
    valued(
        Some('t'),
        None,
        Sets::Types,
        "TYPE[,TYPE]",
        "qcow2 raw tar tgz squashfs vhd vhdx vmdk aci docker ... [qcow2]",
    ),
    plain(Some('x'), None, Sets::Trace, "trace what is done (repeatable)"),
    plain(Some('u'), None, Sets::Uncompressed, "do not compress the image"),
    plain(Some('c'), None, Sets::Clear, "clear the environment first"),
    plain(Some('n'), None, Sets::Flag("SKIP_BASE"), "leave out the element base"),
    valued(Some('p'), None, Sets::Packages, "PKG[,PKG]", "more packages to install (repeatable)"),
    plain(None, Some("checksum"), Sets::Flag("DIB_CHECKSUM"), "write .md5 and .sha256 files"),
    valued(
        None,
        Some("image-size"),
        Sets::Variable("DIB_IMAGE_SIZE"),
        "GIB",
        "size of the image in GiB [from the tree]",
    ),
    valued(
        None,
        Some("image-extra-size"),
        Sets::Variable("DIB_IMAGE_EXTRA_SIZE"),
        "MIB",
        "room beside the tree in MiB",
    ),
    valued(
        None,
        Some("image-cache"),
        Sets::Variable("DIB_IMAGE_CACHE"),
        "DIR",
        "where downloads are kept [~/.cache/image-create]",
    ),
    valued(
        None,
        Some("max-online-resize"),
        Sets::Variable("MAX_ONLINE_RESIZE"),
        "BLOCKS",
        "what ext4 may grow to while mounted",
    ),
    valued(
        None,
        Some("min-tmpfs"),
        Sets::Variable("DIB_MIN_TMPFS"),
        "GIB",
        "memory needed to work in memory [2]",
    ),
    valued(
        None,
        Some("mkfs-journal-size"),
        Sets::Variable("DIB_JOURNAL_SIZE"),
        "MIB",
        "ext4 journal in MiB [64]",
    ),
    valued(
        None,
        Some("mkfs-options"),
        Sets::Variable("MKFS_OPTS"),
        "OPTIONS",
        "for mkfs of the root file system",
    ),
    plain(None, Some("no-tmpfs"), Sets::Flag("DIB_NO_TMPFS"), "do not work in memory"),
    plain(None, Some("offline"), Sets::Flag("DIB_OFFLINE"), "use caches only"),
    valued(
        None,
        Some("qemu-img-options"),
        Sets::Variable("QEMU_IMG_OPTIONS"),
        "OPTIONS",
        "options of the image format, as qemu-img -o takes them",
    ),
    valued(
        None,
        Some("root-label"),
        Sets::Variable("ROOT_LABEL"),
        "LABEL",
        "label of the root file system [cloudimg-rootfs]",
    ),
    valued(
        None,
        Some("ramdisk-element"),
        Sets::Variable("RAMDISK_ELEMENT"),
        "NAME",
        "element that makes the ramdisk [ramdisk]",
    ),
    valued(
        None,
        Some("install-type"),
        Sets::Variable("DIB_DEFAULT_INSTALLTYPE"),
        "TYPE",
        "source or package [source]",
    ),
    valued(
        None,
        Some("docker-target"),
        Sets::Variable("DOCKER_TARGET"),
        "REPO[:TAG]",
        "name of the docker image",
    ),
    valued(None, Some("push"), Sets::Push, "REF", "push the docker image there"),
    valued(
        None,
        Some("logfile"),
        Sets::Variable("LOGFILE"),
        "FILE",
        "append the log to a file, nothing on standard output",
    ),
];

/// Options as given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub help: bool,
    pub version: bool,
    /// Variables that options set, the last one wins.
    pub variables: Vec<(&'static str, String)>,
    pub trace: u32,
    pub types: Option<String>,
    pub packages: Vec<String>,
    pub uncompressed: bool,
    pub clear: bool,
    pub push: Option<String>,
    pub elements: Vec<String>,
}

/// Reads the arguments.
pub(super) fn read(name: Name, arguments: &[String]) -> Result<Options, Faults> {
    let known = OPTIONS.map(|option| option.known);
    let line = getopt::parse(arguments, &known).map_err(|message| {
        let message = format!("{}: {message}", name.text());
        Fault::new(FaultKind::Usage, message).hint(format!("{} --help lists the options", name.text()))
    })?;
    let mut options = Options { elements: line.operands, ..Options::default() };
    for given in line.options {
        let value = given.value.unwrap_or_default();
        match OPTIONS[given.option].sets {
            Sets::Variable(variable) => options.variables.push((variable, value)),
            Sets::Flag(variable) => options.variables.push((variable, "1".to_owned())),
            Sets::Trace => options.trace += 1,
            Sets::Types => options.types = Some(value),
            Sets::Packages => options.packages.extend(words(&value)),
            Sets::Uncompressed => options.uncompressed = true,
            Sets::Clear => options.clear = true,
            Sets::Push => options.push = Some(value),
            Sets::Help => options.help = true,
            Sets::Version => options.version = true,
        }
    }
    Ok(options)
}

/// Names separated by commas or blanks.
pub(super) fn words(text: &str) -> Vec<String> {
    let split = text.split(|c: char| c == ',' || c.is_whitespace());
    split.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// What `--help` prints.
pub fn usage(name: Name) -> String {
    let mut text = format!("Usage: {} [OPTION]... [ELEMENT]...\n\n", name.text());
    text.push_str(match name {
        Name::Disk => "Build a disk image from elements.\n",
        Name::Ramdisk => "Build a ramdisk from elements.\n",
    });
    text.push_str("\nOptions:\n");
    for option in &OPTIONS {
        let short = option.known.short.map(|letter| format!("-{letter}"));
        let long = option.known.long.map(|long| format!("--{long}"));
        let names: Vec<String> = short.into_iter().chain(long).collect();
        text.push_str(&format!(
            "  {:<34} {}\n",
            format!("{} {}", names.join("|"), option.value),
            option.text
        ));
    }
    text.push_str(TRAILER);
    text
}

const TRAILER: &str = "
Variables do the same as options, and more:
  ELEMENTS_PATH             directories of elements, separated by colons; dibw's own come last
  DIB_RELEASE, ARCH         release and architecture of the distribution
  DIB_BLOCK_DEVICE_CONFIG   layout of the disk: YAML, or file://PATH
  FS_TYPE                   type of the root file system [ext4]
  OVERWRITE_OLD_IMAGE=1     replace an image of the same name instead of renaming it
  DIB_CHECKSUM              1, md5 or sha256
  DIB_QUIET, DIB_NO_TIMESTAMP, DIB_SHOW_IMAGE_USAGE, DIB_GZIP_BIN, ACI_MANIFEST
  break=before-PHASE,after-PHASE,after-error   open a shell there
Exit status: 0, the status of the hook that failed, or 1.
";

#[cfg(test)]
mod tests {
    use super::*;

    fn given(text: &str) -> Options {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        read(Name::Disk, &words).unwrap()
    }

    #[test]
    fn options_set_variables() {
        let options =
            given("vm -x -t raw -o one -o two -xt qcow2,raw -p a,b -p c --offline --image-si 3 debian -n -u");
        assert_eq!(options.elements, ["vm", "debian"]);
        assert_eq!((options.trace, options.types.as_deref()), (2, Some("qcow2,raw")));
        assert_eq!(options.packages, ["a", "b", "c"]);
        assert!(options.uncompressed);
        let set = |name: &str| options.variables.iter().rev().find(|(known, _)| *known == name);
        assert_eq!(set("IMAGE_NAME").unwrap().1, "two");
        assert_eq!(set("DIB_IMAGE_SIZE").unwrap().1, "3");
        assert_eq!(set("DIB_OFFLINE").unwrap().1, "1");
        assert_eq!(set("SKIP_BASE").unwrap().1, "1");
    }

    #[test]
    fn a_wrong_option_names_the_command() {
        let faults = read(Name::Ramdisk, &["--frob".to_owned()]).unwrap_err();
        assert_eq!(faults.0[0].message, "ramdisk-image-create: unrecognized option '--frob'");
    }

    #[test]
    fn the_usage_lists_every_option() {
        let text = usage(Name::Disk);
        for option in &OPTIONS {
            assert!(text.contains(option.text));
        }
    }
}
