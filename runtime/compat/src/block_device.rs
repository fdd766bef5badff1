//! What is said of disks outside of elements: the variable `DIB_BLOCK_DEVICE_CONFIG`, and the parameters of the command
//! `dib-block-device`, a YAML file of keys and single values, which diskimage-builder's driver writes
//! (compat/CONTRACT.md 1.2, step 13). Pure. Called by the engine.

use std::collections::BTreeMap;

use dibw_plan::layout::RootDefaults;
use dibw_plan::size::parse_absolute;
use dibw_plan::{Fault, FaultKind, Faults, NamedText};
use dibw_policy::yaml;

/// The value of `DIB_BLOCK_DEVICE_CONFIG`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setting {
    /// The configuration itself, under the variable's name.
    Text(NamedText),
    /// The file it is in.
    File(String),
}

impl Setting {
    /// `file://PATH`, or YAML.
    pub fn of(value: &str) -> Self {
        match value.strip_prefix("file://") {
            Some(path) => Self::File(path.to_owned()),
            None => {
                let name = "DIB_BLOCK_DEVICE_CONFIG".to_owned();
                Self::Text(NamedText { name, text: value.to_owned() })
            }
        }
    }
}

/// The parameters, as written: the driver does not quote, so a label `12345` is no number. Other keys are other programs'.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameters {
    file: String,
    values: BTreeMap<String, String>,
}

impl Parameters {
    /// Reads the text of `file`.
    ///
    /// # Errors
    /// When it is no YAML mapping.
    pub fn parse(text: &str, file: &str) -> Result<Self, Faults> {
        let at = |line, column, message: String| {
            Faults::from(Fault::new(FaultKind::Config, message).at(file, line, column))
        };
        let document = yaml::load(text).map_err(|error| at(error.line, error.column, error.message))?;
        let Some(entries) = document.as_mapping() else {
            let spot = document.spot;
            return Err(at(
                spot.line,
                spot.column,
                format!("parameters are a mapping, not {}", document.kind()),
            ));
        };
        let values =
            entries.iter().filter_map(|entry| Some((entry.key.clone(), entry.value.as_text()?.to_owned())));
        Ok(Self { file: file.to_owned(), values: values.collect() })
    }

    /// A value that is there and not empty.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A value that must be there.
    ///
    /// # Errors
    /// When it is not.
    pub fn required(&self, key: &str) -> Result<&str, Faults> {
        self.get(key).ok_or_else(|| {
            let fault = Fault::new(FaultKind::Config, format!("{}: there is no `{key}`", self.file));
            fault.hint(format!("add a line `{key}: ...`")).into()
        })
    }

    /// Bytes of images whose size is not configured.
    ///
    /// # Errors
    /// When there is none, or it is no size.
    pub fn image_size(&self) -> Result<u64, Faults> {
        let text = self.required("image-size")?;
        parse_absolute(text).map_err(|error| {
            Fault::new(FaultKind::Config, format!("{}: image-size: {error}", self.file)).into()
        })
    }

    /// What the root file system takes from the user.
    pub fn root_defaults(&self) -> RootDefaults {
        RootDefaults {
            fstype: self.get("root-fs-type").unwrap_or_default().to_owned(),
            label: self.get("root-label").map(str::to_owned),
            opts: self.get("root-fs-opts").unwrap_or_default().to_owned(),
            ext4_opts: String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRIVER: &str = "\
config: /b/block-device/config.yaml
image-dir: /i
root-fs-type: ext4
root-label: 012345
mount-base: /b/mnt
build-dir: /b
image-size: 2097152KiB
root-fs-opts: '-i 4096 -J size=64'
";

    #[test]
    fn what_the_driver_writes() {
        let parameters = Parameters::parse(DRIVER, "params.yaml").expect("parameters");
        assert_eq!(parameters.get("image-dir"), Some("/i"));
        assert_eq!(parameters.image_size(), Ok(2 << 30));
        let root = parameters.root_defaults();
        assert_eq!((root.label.as_deref(), root.opts.as_str()), (Some("012345"), "-i 4096 -J size=64"));
    }

    #[test]
    fn empty_values_are_none() {
        let parameters =
            Parameters::parse("root-label:\nroot-fs-opts: ''\nimage-size: 5Q\n", "p").expect("parameters");
        assert_eq!(parameters.root_defaults(), RootDefaults::default());
        let message = parameters.required("build-dir").expect_err("none").to_string();
        assert!(message.contains("p: there is no `build-dir`"), "{message}");
        let message = parameters.image_size().expect_err("no size").to_string();
        assert!(message.contains("p: image-size: unit_str [Q] not known"), "{message}");
    }

    #[test]
    fn what_is_no_mapping_is_refused() {
        for text in ["- a\n", "a\n", "a: [\n", ""] {
            assert!(Parameters::parse(text, "p").is_err(), "{text}");
        }
    }
}
