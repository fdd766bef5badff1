//! From options and variables to the Request. Called by `image_create::parse` only.

use dibw_plan::request::is_for_builds;
use dibw_plan::{Checksum, Fault, FaultKind, Faults, Qcow2Compression, Request};

use super::options::{Options, words};
use super::{Build, Name, Variables, declare};
use crate::block_device::Setting;

const MIB: f64 = 1_048_576.0;
const GIB: f64 = 1024.0 * MIB;

/// What `-c` leaves of the caller's environment: what a login has too, and where dibw finds its own things.
const KEPT_WHEN_CLEARED: [&str; 8] =
    ["HOME", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "USER", "DIBW_ELEMENTS"];

/// Variables of the caller that only options may set.
const OPTIONS_ONLY: [&str; 2] = ["DOCKER_TARGET", "LOGFILE"];

/// Other variables of the caller that say what an image is to be, beside those that every build hears of and all that begin with `IMAGE_`.
const OF_THE_IMAGE: [&str; 7] = [
    "ACI_MANIFEST",
    "COMPRESS_IMAGE",
    "DOCKER_TARGET",
    "LOGFILE",
    "MAX_ONLINE_RESIZE",
    "RUN_PARTS_REGEX",
    "SKIP_BASE",
];

pub(super) fn build(
    name: Name,
    arguments: &[String],
    options: &Options,
    environment: &Variables,
    arch: &str,
) -> Result<Build, Faults> {
    let mut faults = Faults::default();
    let mut set = Settings::new(arguments, options, environment);
    set.or_default("IMAGE_NAME", "image");
    set.or_default("FS_TYPE", "ext4");
    set.or_default("DIB_CHECKSUM", "0");
    set.or_default("DIB_NO_TMPFS", "0");
    set.or_default("DIB_MIN_TMPFS", "2");
    set.or_default("DIB_DEBUG_TRACE", "0");
    let home = set.text("HOME").unwrap_or("/root").to_owned();
    set.or_default("DIB_IMAGE_CACHE", &format!("{home}/.cache/image-create"));
    set.or_default("DIB_LOCKFILES", &format!("{home}/.cache/dib/lockfiles"));
    set.search_path();
    if set.text("GENTOO_PROFILE").is_some_and(|profile| profile.contains("hardened")) {
        set.put("DIB_NO_TMPFS", "1");
    }
    let journal = set.number("DIB_JOURNAL_SIZE", &mut faults).unwrap_or(64.0);
    let overwrite = set.number("OVERWRITE_OLD_IMAGE", &mut faults).is_some_and(|number| number != 0.0);
    let bytes = |number: Option<f64>, unit: f64| number.map(|number| (number * unit) as u64);
    let image_size = bytes(set.number("DIB_IMAGE_SIZE", &mut faults), GIB);
    let image_extra_size = bytes(set.number("DIB_IMAGE_EXTRA_SIZE", &mut faults), MIB);
    let min_tmpfs = set.number("DIB_MIN_TMPFS", &mut faults).unwrap_or(2.0);
    let checksums = Checksum::named_in(set.text("DIB_CHECKSUM").unwrap_or_default());
    let (block_device, block_device_file) = match set.text("DIB_BLOCK_DEVICE_CONFIG").map(Setting::of) {
        None => (None, None),
        Some(Setting::File(path)) => (None, Some(path)),
        Some(Setting::Text(text)) => (Some(text), None),
    };
    let types = options.types.as_deref().map_or_else(|| vec!["qcow2".to_owned()], words);
    let output = set.text("IMAGE_NAME").unwrap_or("image").to_owned();
    let request = Request {
        elements: set.elements(name, options),
        output: output.clone(),
        types,
        arch: set.text("ARCH").unwrap_or(arch).to_owned(),
        packages: options.packages.clone(),
        skip_base: set.text("SKIP_BASE") == Some("1"),
        image_size,
        image_extra_size,
        settings: std::collections::BTreeMap::new(),
        variables: set.of_the_image(),
        block_device,
        fs_type: set.text("FS_TYPE").unwrap_or("ext4").to_owned(),
        root_label: set.text("ROOT_LABEL").map(str::to_owned),
        mkfs_options: set.text("MKFS_OPTS").unwrap_or_default().to_owned(),
        journal_mib: journal as u64,
        checksums,
        overwrite,
        offline: set.text("DIB_OFFLINE").is_some(),
        refresh: false,
        source_date_epoch: set.number("SOURCE_DATE_EPOCH", &mut faults).unwrap_or(0.0) as u64,
        seed: output,
        classic: true,
        ramdisk: name == Name::Ramdisk,
        qcow2_compression: match options.uncompressed {
            true => Qcow2Compression::None,
            false => Qcow2Compression::Zlib,
        },
        qemu_img_options: set.text("QEMU_IMG_OPTIONS").map(str::to_owned),
        docker_target: set.text("DOCKER_TARGET").map(str::to_owned),
        push: options.push.clone(),
        aci_manifest: None,
    };
    let quiet = match set.text("DIB_QUIET") {
        Some(given) => given == "1",
        None => set.text("LOGFILE").is_some(),
    };
    faults.or(Build {
        request,
        block_device_file,
        aci_manifest_file: set.text("ACI_MANIFEST").map(str::to_owned),
        logfile: set.text("LOGFILE").map(str::to_owned),
        quiet,
        no_timestamp: set.text("DIB_NO_TIMESTAMP") == Some("1"),
        tmpfs: set.text("DIB_NO_TMPFS") == Some("0"),
        min_tmpfs,
        // mktemp(1) lets TMPDIR win.
        temporary: set.text("TMPDIR").or(set.text("TMP_DIR")).map(str::to_owned),
        image_cache: set.text("DIB_IMAGE_CACHE").unwrap_or_default().to_owned(),
        lockfiles: set.text("DIB_LOCKFILES").unwrap_or_default().to_owned(),
        environment: set.variables,
    })
}

/// The variables of a build: the caller's, with what options say in their place.
struct Settings {
    variables: Variables,
}

impl Settings {
    fn new(arguments: &[String], options: &Options, environment: &Variables) -> Self {
        let cleared = options.clear || environment.get("CLEAR_ENV").is_some_and(|value| value == "1");
        let kept = |name: &str| !cleared || KEPT_WHEN_CLEARED.contains(&name);
        let mut variables = environment.clone();
        variables.retain(|name, _| kept(name) && !OPTIONS_ONLY.contains(&name.as_str()));
        // Both are the caller's, as they were before any option.
        let words = arguments.join(" ");
        let mut lines: Vec<(&str, String)> = variables
            .iter()
            .filter(|(name, _)| name.starts_with("DIB_") && *name != "DIB_ARGS")
            .map(|(name, value)| (name.as_str(), declare::line(name, value)))
            .collect();
        lines.push(("DIB_ARGS", declare::line("DIB_ARGS", &words)));
        lines.sort();
        let text = lines.into_iter().map(|(_, line)| line).collect::<Vec<_>>().join("\n");
        variables.insert("DIB_ENV".to_owned(), text);
        variables.insert("DIB_ARGS".to_owned(), words);
        for (name, value) in &options.variables {
            variables.insert((*name).to_owned(), value.clone());
        }
        if options.trace > 0 {
            let before: u32 =
                variables.get("DIB_DEBUG_TRACE").and_then(|text| text.parse().ok()).unwrap_or(0);
            variables.insert("DIB_DEBUG_TRACE".to_owned(), (before + options.trace).to_string());
        }
        Self { variables }
    }

    /// A variable that is set and not empty.
    fn text(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }

    fn put(&mut self, name: &str, value: &str) {
        self.variables.insert(name.to_owned(), value.to_owned());
    }

    fn or_default(&mut self, name: &str, value: &str) {
        if self.text(name).is_none() {
            self.put(name, value);
        }
    }

    fn number(&self, name: &str, faults: &mut Faults) -> Option<f64> {
        let text = self.text(name)?;
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() && number >= 0.0 => Some(number),
            _ => {
                faults.push(
                    Fault::new(FaultKind::Usage, format!("{name}: `{text}` is not a number"))
                        .hint("sizes are numbers: GiB for an image, MiB for extra room and a journal"),
                );
                None
            }
        }
    }

    /// Tools of the administrator are found, also for a caller who has none of their directories.
    fn search_path(&mut self) {
        let mut path = self.text("PATH").unwrap_or("/usr/local/bin:/usr/bin:/bin").to_owned();
        for directory in ["/sbin", "/usr/sbin", "/usr/local/sbin"] {
            if !path.split(':').any(|known| known == directory) {
                path.push(':');
                path.push_str(directory);
            }
        }
        self.put("PATH", &path);
    }

    /// `IMAGE_ELEMENT` of the caller, then the arguments; a ramdisk's own element in front.
    fn elements(&self, name: Name, options: &Options) -> Vec<String> {
        let mut elements = Vec::new();
        if name == Name::Ramdisk {
            elements.push(self.text("RAMDISK_ELEMENT").unwrap_or("ramdisk").to_owned());
        }
        elements.extend(words(self.text("IMAGE_ELEMENT").unwrap_or_default()));
        elements.extend(options.elements.iter().flat_map(|argument| words(argument)));
        elements
    }

    /// What the plan records: settings of the image, and nothing else of the caller's environment.
    fn of_the_image(&self) -> Variables {
        let known =
            |name: &str| is_for_builds(name) || name.starts_with("IMAGE_") || OF_THE_IMAGE.contains(&name);
        self.variables
            .iter()
            .filter(|(name, _)| known(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }
}
