//! An image of the file, over what the command line gives as defaults -> a Request. Called by the command line.

use std::collections::BTreeMap;

use dibw_plan::{Checksum, Fault, FaultKind, Faults, NamedText, Qcow2Compression, Request};

use super::{Field, Image};

const MIB: f64 = 1_048_576.0;
const GIB: f64 = 1024.0 * MIB;

impl Image {
    /// The Request: `defaults`, and over them this image's values. Elements and packages take the place of the defaults' ones.
    ///
    /// # Errors
    /// Variables of its `environment` that diskimage-builder reads and that make no sense.
    pub fn request(&self, defaults: &Request) -> Result<Request, Faults> {
        let mut request = defaults.clone();
        let mut faults = Faults::default();
        if let Some(environment) = self.map("environment") {
            request.variables.extend(environment.clone());
            self.apply_environment(environment, &mut request, &mut faults);
        }
        if let Some(name) = &self.name {
            request.output.clone_from(name);
            request.seed.clone_from(name);
        }
        replace(&mut request.arch, self.text("arch"));
        replace(&mut request.types, self.list("types"));
        replace(&mut request.elements, self.list("elements"));
        replace(&mut request.packages, self.list("packages"));
        replace(&mut request.mkfs_options, self.text("mkfs-options"));
        replace(&mut request.skip_base, self.flag("skip-base"));
        replace(&mut request.offline, self.flag("offline"));
        if self.flag("checksum") == Some(true) {
            request.checksums.extend([Checksum::Md5, Checksum::Sha256]);
        }
        match (self.flag("uncompressed"), request.qcow2_compression) {
            (Some(true), _) => request.qcow2_compression = Qcow2Compression::None,
            (Some(false), Qcow2Compression::None) => request.qcow2_compression = Qcow2Compression::Zlib,
            (Some(false), Qcow2Compression::Zlib | Qcow2Compression::Zstd) | (None, _) => {}
        }
        if let Some(options) = self.map("qemu-img-options") {
            let options: Vec<String> = options.iter().map(|(key, value)| format!("{key}={value}")).collect();
            request.qemu_img_options = Some(options.join(","));
        }
        request.docker_target = self.text("docker-target").or(request.docker_target);
        if let Some(label) = self.text("root-label").filter(|label| !label.is_empty()) {
            request.root_label = Some(label);
        }
        request.image_size = self.number("image-size").map(|gib| (gib * GIB) as u64).or(request.image_size);
        let extra = self.number("image-extra-size").map(|mib| (mib * MIB) as u64);
        request.image_extra_size = extra.or(request.image_extra_size);
        replace(&mut request.journal_mib, self.number("mkfs-journal-size").map(|mib| mib as u64));
        if let Some(blocks) = self.number("max-online-resize") {
            request.variables.insert("MAX_ONLINE_RESIZE".to_owned(), (blocks as u64).to_string());
        }
        let variables = [
            ("debug-trace", "DIB_DEBUG_TRACE"),
            ("image-cache", "DIB_IMAGE_CACHE"),
            ("install-type", "DIB_DEFAULT_INSTALLTYPE"),
        ];
        for (key, variable) in variables {
            request.variables.extend(self.text(key).map(|value| (variable.to_owned(), value)));
        }
        for (element, settings) in &self.settings {
            request.settings.entry(element.clone()).or_default().extend(settings.clone());
        }
        faults.or(request)
    }

    /// The variables of `environment` that change the build itself, as they do for the caller.
    fn apply_environment(
        &self,
        environment: &BTreeMap<String, String>,
        request: &mut Request,
        faults: &mut Faults,
    ) {
        let mut number = |name: &str| -> Option<f64> {
            let text = environment.get(name).filter(|text| !text.is_empty())?;
            let parsed = text.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0);
            if parsed.is_none() {
                let message = format!("{}: environment: {name}: `{text}` is not a number above 0", self.file);
                faults.push(Fault::new(FaultKind::Config, message));
            }
            parsed
        };
        request.image_size = number("DIB_IMAGE_SIZE").map(|gib| (gib * GIB) as u64).or(request.image_size);
        let extra = number("DIB_IMAGE_EXTRA_SIZE").map(|mib| (mib * MIB) as u64);
        request.image_extra_size = extra.or(request.image_extra_size);
        replace(&mut request.journal_mib, number("DIB_JOURNAL_SIZE").map(|mib| mib as u64));
        let text = |name: &str| environment.get(name).filter(|text| !text.is_empty()).cloned();
        replace(&mut request.arch, text("ARCH"));
        replace(&mut request.fs_type, text("FS_TYPE"));
        request.root_label = text("ROOT_LABEL").or(request.root_label.take());
        request.qemu_img_options = text("QEMU_IMG_OPTIONS").or(request.qemu_img_options.take());
        replace(&mut request.offline, environment.get("DIB_OFFLINE").map(|text| !text.is_empty()));
        if let Some(checksum) = text("DIB_CHECKSUM") {
            request.checksums.extend(Checksum::named_in(&checksum));
        }
        match text("DIB_BLOCK_DEVICE_CONFIG") {
            Some(path) if path.starts_with("file://") => {
                let message = format!("{}: environment: DIB_BLOCK_DEVICE_CONFIG names a file", self.file);
                let hint = format!("use --block-device {}", path.trim_start_matches("file://"));
                faults.push(Fault::new(FaultKind::Config, message).hint(hint));
            }
            Some(text) => {
                let name = format!("DIB_BLOCK_DEVICE_CONFIG in {}", self.file);
                request.block_device = Some(NamedText { name, text });
            }
            None => {}
        }
    }

    fn text(&self, key: &str) -> Option<String> {
        match self.fields.get(key) {
            Some(Field::Text(text)) => Some(text.clone()),
            _ => None,
        }
    }

    fn number(&self, key: &str) -> Option<f64> {
        match self.fields.get(key) {
            Some(Field::Number(number)) => Some(*number),
            _ => None,
        }
    }

    fn flag(&self, key: &str) -> Option<bool> {
        match self.fields.get(key) {
            Some(Field::Flag(flag)) => Some(*flag),
            _ => None,
        }
    }

    /// An empty list counts as none.
    fn list(&self, key: &str) -> Option<Vec<String>> {
        match self.fields.get(key) {
            Some(Field::List(list)) if !list.is_empty() => Some(list.clone()),
            _ => None,
        }
    }

    fn map(&self, key: &str) -> Option<&BTreeMap<String, String>> {
        match self.fields.get(key) {
            Some(Field::Map(map)) => Some(map),
            _ => None,
        }
    }
}

fn replace<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}
