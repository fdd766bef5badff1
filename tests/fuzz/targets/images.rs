//! The other YAML files of elements and users: lists of images, image commands, package lists and maps.
#![no_main]

use dibw_compat::{image_yaml, images};
use dibw_plan::packages::{PackageMap, ServiceMap, parse_installs};
use dibw_plan::NamedText;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &str)| {
    let (kind, text) = input;
    let source = NamedText { name: "file".to_owned(), text: text.to_owned() };
    let faults = match kind % 5 {
        0 => images::parse(&source).err(),
        1 => image_yaml::commands(&[source]).err(),
        2 => parse_installs("element", &source, "amd64").err(),
        3 => PackageMap::parse(&source).err(),
        _ => ServiceMap::parse(&source).err(),
    };
    if let Some(faults) = faults {
        assert!(!faults.to_string().is_empty(), "refused without a reason");
    }
});
