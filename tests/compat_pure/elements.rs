//! Classic element directories, as listings, against compat/CONTRACT.md 2.1, 2.2 and 1.4.

use dibw_compat::classic::{FileEntry, Kind, parse, wanted};
use dibw_plan::Phase;
use dibw_tests::planning::files;

#[test]
fn an_element_holds_what_its_files_say() {
    let mut listing = files(
        "e",
        &[
            ("element-deps", "b\n\n  a  \n"),
            ("element-provides", "virtual\n"),
            ("host-tools", "mmdebstrap\n"),
            ("install.d/100-z", ""),
            ("install.d/20-b", ""),
            ("install.d/name.sh", ""),
            ("install.d/not-executable", ""),
            ("install.d/sub/10-deep", ""),
            ("pre-install.d/package-installs-e", "vim\n"),
            ("environment.d/10-x.bash", ""),
            ("environment.d/2.5-y", ""),
            ("environment.d/bad~", ""),
            ("static/etc/conf", ""),
            ("static/.hidden", ""),
            ("tests/test.py", ""),
            ("package-installs.yaml", "y:\n"),
            ("package-installs.json", "{}"),
            ("pkg-map", "{}"),
            ("block-device-default.yaml", "d"),
            ("block-device-arm64.yaml", "a"),
            ("README.rst", "e\n"),
        ],
    );
    for entry in &mut listing.entries {
        if ["install.d/not-executable", "pre-install.d/package-installs-e"].contains(&entry.path.as_str()) {
            entry.mode = 0o644;
        }
    }
    let link = |path: &str, file| FileEntry {
        path: path.to_owned(),
        kind: Kind::Symlink { target: "x".to_owned(), file },
        mode: 0o755,
        sha256: None,
        content: None,
    };
    listing.entries.extend([link("install.d/30-link", true), link("install.d/40-dangling", false)]);
    let element = parse(&listing).unwrap();
    assert_eq!(element.depends, ["b", "a"]);
    assert_eq!(element.provides, ["virtual"]);
    assert_eq!(element.host_tools, ["mmdebstrap"]);
    assert_eq!(
        element.hooks.into_iter().collect::<Vec<_>>(),
        [(Phase::Install, ["20-b", "30-link", "100-z"].map(String::from).to_vec())]
    );
    assert_eq!(element.environment, ["10-x.bash", "2.5-y"]);
    assert_eq!(element.package_installs.unwrap().name, "/elements/e/package-installs.json");
    assert_eq!(element.package_lists[&Phase::PreInstall].text, "vim\n");
    assert_eq!(element.block_device.keys().collect::<Vec<_>>(), ["arm64", "default"]);
    assert_eq!(
        element.merged,
        [
            "environment.d/10-x.bash",
            "environment.d/2.5-y",
            "environment.d/bad~",
            "install.d/100-z",
            "install.d/20-b",
            "install.d/30-link",
            "install.d/40-dangling",
            "install.d/name.sh",
            "install.d/not-executable",
            "install.d/sub/",
            "pre-install.d/package-installs-e",
            "static/etc/",
        ]
    );
}

#[test]
fn comments_in_lists_are_told_with_their_line() {
    let faults = parse(&files("e", &[("element-deps", "a\n# why\nb c\n")])).unwrap_err();
    let told: Vec<String> = faults.0.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "/elements/e/element-deps:2: `# why` is not a name\n  hint: one name a line, without comments",
            "/elements/e/element-deps:3: `b c` is not a name\n  hint: one name a line, without comments",
        ]
    );
}

#[test]
fn only_small_known_files_are_read() {
    for (path, expected) in [
        ("element-deps", true),
        ("block-device-mbr.yaml", true),
        ("install.d/package-installs-x", true),
        ("install.d/10-x", false),
        ("static/pkg-map", false),
        ("README.rst", false),
        ("element.wasm", false),
    ] {
        assert_eq!(wanted(path), expected, "{path}");
    }
}

#[test]
fn the_digest_follows_content_mode_and_path_but_not_the_order_of_the_listing() {
    let base = files("e", &[("install.d/10-x", "a"), ("static/y", "b")]);
    let digest = |listing: &dibw_compat::classic::ElementFiles| parse(listing).unwrap().digest;
    let mut reversed = base.clone();
    reversed.entries.reverse();
    assert_eq!(digest(&base), digest(&reversed));
    let mut mode = base.clone();
    mode.entries[1].mode = 0o700;
    for other in [
        mode,
        files("e", &[("install.d/10-x", "c"), ("static/y", "b")]),
        files("e", &[("install.d/10-x", "a")]),
    ] {
        assert_ne!(digest(&base), digest(&other));
    }
}
