//! Block device configurations: any text is a layout or faults; of a layout, every question of the engine has an answer.
#![no_main]

use dibw_plan::layout::{Layout, LayoutParameters, RootDefaults, parse};
use dibw_plan::size::SizeRules;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let root = RootDefaults { fstype: "ext4".to_owned(), ..RootDefaults::default() };
    let parameters = LayoutParameters { file: "layout.yaml", root: &root, sector_size: None, seed: b"fuzz" };
    let Ok(layout) = parse(text, &parameters) else { return };
    let json = serde_json::to_string(&layout).expect("a layout can be written");
    let again: Layout = serde_json::from_str(&json).expect("a layout can be read");
    assert_eq!(again, layout);
    for size in [None, Some(0), Some(1 << 30), Some(u64::MAX)] {
        if !layout.check(size).is_empty() {
            continue;
        }
        let size = size.unwrap_or(1 << 40);
        for geometry in layout.resolve_geometry(size).into_iter().flatten() {
            assert!(!format!("{geometry:?}").is_empty());
        }
    }
    layout.minimum_size();
    layout.image_size(1 << 20, &SizeRules::default());
    assert_eq!(layout.fstab().lines().count(), layout.fstab.len());
});
