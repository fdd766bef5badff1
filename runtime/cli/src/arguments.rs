//! The arguments that `build` and `plan` share, and the way from them (and the environment) to Requests and a catalogue.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use dibw_compat::block_device::Setting;
use dibw_plan::request::is_for_builds;
use dibw_plan::{Catalogue, Checksum, Fault, FaultKind, Faults, NamedText, Qcow2Compression, Request};
use dibw_policy::{Grant, Policy};

/// What to build, and how.
#[derive(clap::Args, Clone)]
pub struct ImageArgs {
    /// Elements: a name on the elements path, a directory, or a .wasm file
    #[arg(value_name = "ELEMENT")]
    pub elements: Vec<String>,

    /// Path prefix of the artifacts
    #[arg(short, long, value_name = "NAME", default_value = "image", env = "IMAGE_NAME")]
    pub output: String,

    /// Output types, comma separated: raw qcow2 vhd vhdx vmdk vdi tar tgz tar.zst squashfs docker oci aci, and vpc qed qcow parallels
    #[arg(short = 't', long = "types", value_name = "TYPES", value_delimiter = ',', default_value = "qcow2")]
    pub types: Vec<String>,

    /// Target architecture in Debian's spelling [default: this machine's]
    #[arg(short, long, env = "ARCH")]
    pub arch: Option<String>,

    /// Extra packages, comma separated
    #[arg(short, long, value_name = "PKG", value_delimiter = ',')]
    pub packages: Vec<String>,

    /// Leave out the `base` element
    #[arg(short = 'n', long)]
    pub skip_base: bool,

    /// Size of the image, like 4GiB or 3.5G; a bare number is GiB [default: from the size of the tree]
    #[arg(long, value_name = "SIZE", env = "DIB_IMAGE_SIZE")]
    pub image_size: Option<String>,

    /// Room to leave beside the tree, like 500MiB; a bare number is MiB
    #[arg(long, value_name = "SIZE", env = "DIB_IMAGE_EXTRA_SIZE")]
    pub image_extra_size: Option<String>,

    /// Configure a typed element; the value is YAML (repeatable)
    #[arg(long = "set", value_name = "ELEMENT.KEY=VALUE")]
    pub settings: Vec<String>,

    /// Policy file; it may only narrow what elements are given
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,

    /// Grant a capability that is not given by default (repeatable)
    #[arg(long = "grant", value_name = "ELEMENT:CAPABILITY=VALUE")]
    pub grants: Vec<String>,

    /// Refuse elements that are not as this lock has them [default: dibw.lock, where there is one]
    #[arg(long, value_name = "FILE")]
    pub lock: Option<PathBuf>,

    /// Use caches only, no network
    #[arg(long, env = "DIB_OFFLINE", value_parser = clap::builder::BoolishValueParser::new(), action = clap::ArgAction::SetTrue)]
    pub offline: bool,

    /// Use nothing that is cached
    #[arg(long, conflicts_with = "offline")]
    pub refresh: bool,

    /// Write md5 beside sha256
    #[arg(long)]
    pub md5: bool,

    /// Replace artifacts of the same name instead of renaming them
    #[arg(long)]
    pub overwrite: bool,

    /// Block device configuration, in place of the one of the elements
    #[arg(long, value_name = "FILE")]
    pub block_device: Option<PathBuf>,

    /// Type of the root file system, where its configuration leaves it open
    #[arg(long, value_name = "TYPE", default_value = "ext4", env = "FS_TYPE")]
    pub fs_type: String,

    /// Label of the root file system
    #[arg(long, value_name = "LABEL", env = "ROOT_LABEL")]
    pub root_label: Option<String>,

    /// Extra options for mkfs of the root file system
    #[arg(long, value_name = "OPTIONS", default_value = "", allow_hyphen_values = true)]
    pub mkfs_options: String,

    /// Write qcow2 uncompressed: the same as --qcow2-compression none
    #[arg(short, long, conflicts_with = "qcow2_compression")]
    pub uncompressed: bool,

    /// Compression of qcow2: zlib, which every reader knows; zstd, faster, for QEMU 5.1 and newer; or none
    #[arg(long, value_name = "TYPE", default_value = "zlib", hide_possible_values = true)]
    pub qcow2_compression: Compression,

    /// Options of the disk format, as `qemu-img convert -o` takes them
    #[arg(long, value_name = "OPTIONS", env = "QEMU_IMG_OPTIONS")]
    pub qemu_img_options: Option<String>,

    /// Name of the container image, for the output types docker and oci
    #[arg(long, value_name = "NAME[:TAG]")]
    pub docker_target: Option<String>,

    /// Push the container image there, with docker, podman or skopeo
    #[arg(long, value_name = "REGISTRY/NAME[:TAG]")]
    pub push: Option<String>,

    /// Image file: several images, with settings (see `docs/images.md`)
    #[arg(long, value_name = "IMAGES.yaml")]
    pub config: Option<PathBuf>,
}

/// [`Qcow2Compression`] as the command line has it.
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum Compression {
    /// deflate.
    Zlib,
    /// zstd.
    Zstd,
    /// As they are.
    None,
}

impl ImageArgs {
    /// The Requests: one, or those of the image file.
    ///
    /// # Errors
    /// All faults of arguments and image file at once.
    pub fn requests(&self) -> Result<Vec<Request>, Faults> {
        let mut faults = Faults::default();
        let request = faults.take(self.request());
        let requests = match (&self.config, request) {
            (None, request) => request.into_iter().collect(),
            (Some(file), request) => {
                let text = faults.take(read_named(file, FaultKind::Config));
                let images = text.and_then(|named| faults.take(dibw_compat::images::parse(&named)));
                match (images, request) {
                    (Some(images), Some(request)) => crate::images::requests(&request, images, &mut faults),
                    _ => Vec::new(),
                }
            }
        };
        if faults.is_empty() && requests.iter().any(|request| request.elements.is_empty()) {
            faults.push(
                Fault::new(FaultKind::Usage, "no element is named")
                    .hint("name at least an operating system: dibw build debian-minimal"),
            );
        }
        faults.or(requests)
    }

    fn request(&self) -> Result<Request, Faults> {
        let mut faults = Faults::default();
        let image_size = faults.take(size(self.image_size.as_deref(), "--image-size", GIB));
        let image_extra_size = faults.take(size(self.image_extra_size.as_deref(), "--image-extra-size", MIB));
        let block_device =
            self.block_device.as_ref().and_then(|file| faults.take(read_named(file, FaultKind::Layout)));
        let aci_manifest = std::env::var("ACI_MANIFEST").ok().filter(|file| !file.is_empty());
        let aci_manifest = aci_manifest
            .filter(|_| self.types.iter().any(|kind| kind == "aci"))
            .and_then(|file| faults.take(read_named(Path::new(&file), FaultKind::Config)));
        let mut settings = BTreeMap::new();
        for setting in &self.settings {
            faults.take(add_setting(&mut settings, setting));
        }
        let mut checksums = BTreeSet::from([Checksum::Sha256]);
        if self.md5 {
            checksums.insert(Checksum::Md5);
        }
        let request = Request {
            elements: self.elements.iter().map(|element| element_name(element)).collect(),
            output: self.output.clone(),
            types: self.types.clone(),
            arch: self.arch.clone().unwrap_or_else(host_arch),
            packages: self.packages.clone(),
            skip_base: self.skip_base,
            image_size: image_size.flatten(),
            image_extra_size: image_extra_size.flatten(),
            settings,
            variables: seen_variables(),
            block_device: block_device.or_else(|| self.block_device_variable(&mut faults)),
            fs_type: self.fs_type.clone(),
            root_label: self.root_label.clone(),
            mkfs_options: self.mkfs_options.clone(),
            journal_mib: 64,
            checksums,
            overwrite: self.overwrite,
            offline: self.offline,
            refresh: self.refresh,
            source_date_epoch: source_date_epoch(&mut faults),
            seed: self.output.clone(),
            classic: false,
            ramdisk: false,
            qcow2_compression: self.qcow2_compression(),
            qemu_img_options: self.qemu_img_options.clone(),
            docker_target: self.docker_target.clone(),
            push: self.push.clone(),
            aci_manifest,
        };
        faults.or(request)
    }

    fn qcow2_compression(&self) -> Qcow2Compression {
        match self.qcow2_compression {
            Compression::None => Qcow2Compression::None,
            Compression::Zlib | Compression::Zstd if self.uncompressed => Qcow2Compression::None,
            Compression::Zlib => Qcow2Compression::Zlib,
            Compression::Zstd => Qcow2Compression::Zstd,
        }
    }

    /// `DIB_BLOCK_DEVICE_CONFIG`: YAML text or `file://PATH`.
    fn block_device_variable(&self, faults: &mut Faults) -> Option<NamedText> {
        let value = std::env::var("DIB_BLOCK_DEVICE_CONFIG").ok().filter(|value| !value.is_empty())?;
        match Setting::of(&value) {
            Setting::Text(text) => Some(text),
            Setting::File(path) => faults.take(read_named(Path::new(&path), FaultKind::Layout)),
        }
    }

    /// Everything that can be built from: the elements path, what we ship, and the directories and files named as arguments.
    ///
    /// # Errors
    /// All faults in element files at once.
    pub fn catalogue(&self) -> Result<Catalogue, Faults> {
        let given = self.elements.iter().filter(|element| is_path(element)).map(PathBuf::from);
        dibw_engine::catalogue::read(&dibw_engine::catalogue::elements_path()?, &given.collect::<Vec<_>>())
    }

    /// The policy in force.
    ///
    /// # Errors
    /// All faults of the files at once.
    pub fn policy(&self) -> Result<Policy, Faults> {
        crate::policy_files::in_force(self.policy.as_deref())
    }

    /// What the command line grants beyond the policy's default.
    ///
    /// # Errors
    /// All that can't be read.
    pub fn grants(&self) -> Result<Vec<Grant>, Faults> {
        let mut faults = Faults::default();
        let grants = self.grants.iter().filter_map(|text| {
            faults.take(
                text.parse::<Grant>()
                    .map_err(|error| Fault::new(FaultKind::Usage, format!("--grant {text}: {error}")).into()),
            )
        });
        let grants = grants.collect();
        faults.or(grants)
    }
}

/// What hooks see as `ELEMENTS_PATH`: the caller's and dibw's own.
pub fn elements_path_variable(path: &[PathBuf]) -> (String, String) {
    let words: Vec<String> = path.iter().map(|entry| entry.display().to_string()).collect();
    ("ELEMENTS_PATH".to_owned(), words.join(":"))
}

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// A size option: a bare number counts in `unit` bytes, as diskimage-builder's users expect.
fn size(text: Option<&str>, option: &str, unit: u64) -> Result<Option<u64>, Faults> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    if let Ok(number) = text.parse::<f64>()
        && number.is_finite()
        && number > 0.0
    {
        return Ok(Some((number * unit as f64) as u64));
    }
    dibw_plan::size::parse_absolute(text).map(Some).map_err(|error| {
        Fault::new(FaultKind::Usage, format!("{option} {text}: {error}"))
            .hint("sizes look like 4GiB, 3500MiB or 4")
            .into()
    })
}

/// `element.key=value`, where the value is YAML.
fn add_setting(
    settings: &mut BTreeMap<String, BTreeMap<String, serde_json::Value>>,
    setting: &str,
) -> Result<(), Faults> {
    let wrong = || {
        Fault::new(FaultKind::Usage, format!("--set {setting}: this is not ELEMENT.KEY=VALUE"))
            .hint("for example --set hostname.name=web1")
    };
    let (name, value) = setting.split_once('=').ok_or_else(wrong)?;
    let (element, key) = name.split_once('.').ok_or_else(wrong)?;
    let value = serde_yaml::from_str(value).map_err(|error| {
        Fault::new(FaultKind::Usage, format!("--set {name}: the value is not YAML: {error}"))
    })?;
    settings.entry(element.to_owned()).or_default().insert(key.to_owned(), value);
    Ok(())
}

/// Whether an argument means a file and not a name.
fn is_path(element: &str) -> bool {
    element.contains('/') || element.ends_with(".wasm")
}

/// The name an argument has in the catalogue.
fn element_name(element: &str) -> String {
    match is_path(element) {
        true => dibw_engine::catalogue::name_of(Path::new(element)),
        false => element.to_owned(),
    }
}

/// A file that the user named, under that name.
///
/// # Errors
/// When it can't be read.
pub fn read_named(file: &Path, kind: FaultKind) -> Result<NamedText, Faults> {
    let name = file.display().to_string();
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(NamedText { name, text }),
        Err(error) => Err(Fault::new(kind, format!("cannot read {name}: {error}")).into()),
    }
}

/// The caller's variables that hooks may see. Credentials and loader variables stay outside.
fn seen_variables() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| is_for_builds(name))
        .collect()
}

/// `SOURCE_DATE_EPOCH`, or the Unix epoch's first second: an image has no clock of its own.
fn source_date_epoch(faults: &mut Faults) -> u64 {
    let Ok(value) = std::env::var("SOURCE_DATE_EPOCH") else { return 0 };
    value.parse().unwrap_or_else(|_| {
        faults.push(Fault::new(
            FaultKind::Usage,
            format!("SOURCE_DATE_EPOCH={value} is not a number of seconds"),
        ));
        0
    })
}

/// This machine's architecture in Debian's spelling.
pub fn host_arch() -> String {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "arm" => "armhf",
        "powerpc64" => "ppc64el",
        other => other,
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_sizes_have_the_unit_of_their_option() {
        assert_eq!(size(Some("3.5"), "--image-size", GIB).unwrap(), Some(3_758_096_384));
        assert_eq!(size(Some("500"), "--image-extra-size", MIB).unwrap(), Some(524_288_000));
        assert!(size(Some("lots"), "--image-size", GIB).is_err());
    }

    #[test]
    fn a_setting_is_yaml() {
        let mut settings = BTreeMap::new();
        add_setting(&mut settings, "users.accounts=[{name: ada}]").unwrap();
        assert_eq!(settings["users"]["accounts"], serde_json::json!([{"name": "ada"}]));
        assert!(add_setting(&mut settings, "nodot=1").is_err());
    }
}
