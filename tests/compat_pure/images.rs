//! Image files against compat/CONTRACT.md 3.2.

use dibw_compat::images::{Image, parse};
use dibw_plan::{Checksum, Faults, NamedText, Qcow2Compression, Request};
use dibw_tests::planning::request;
use serde_json::json;

fn images(text: &str) -> Result<Vec<Image>, Faults> {
    parse(&NamedText { name: "images.yaml".to_owned(), text: text.to_owned() })
}

fn requests(text: &str) -> Vec<Request> {
    let images = images(text).expect("the file of the test is well-formed");
    images.iter().map(|image| image.request(&request()).expect("the image of the test makes sense")).collect()
}

#[test]
fn entries_of_one_name_are_merged() {
    let requests = requests(
        "- imagename: a\n  types: [qcow2]\n  packages: [x]\n  elements: [os, {motd: {text: hi}}]\n  environment: {A: '1', B: '2'}\n\
         - types: [raw]\n  elements: [vm, {motd: {loud: true}}]\n  environment: {B: '3'}\n\
         - imagename: b\n  elements: [os]\n\
         - imagename: a\n  arch: arm64\n  packages: [y]\n",
    );
    let names: Vec<_> = requests.iter().map(|request| request.output.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(requests[0].types, ["qcow2", "raw"]);
    assert_eq!(requests[0].packages, ["x", "y"]);
    assert_eq!(requests[0].elements, ["os", "motd", "vm", "motd"]);
    assert_eq!(requests[0].arch, "arm64");
    assert_eq!(json!(requests[0].variables), json!({"A": "1", "B": "3"}));
    assert_eq!(json!(requests[0].settings), json!({"motd": {"text": "hi", "loud": true}}));
}

#[test]
fn every_key_reaches_the_request() {
    let requests = requests(
        "- elements: [os]\n  checksum: true\n  image-size: 3\n  image-extra-size: 500\n  mkfs-journal-size: 16\n  mkfs-options: -O x\n\
         \x20 offline: true\n  root-label: r\n  install-type: package\n  skip-base: false\n  debug-trace: 1\n  image-cache: /c\n\
         \x20 max-online-resize: 4096\n  no-tmpfs: true\n  min-tmpfs: 4\n  uncompressed: true\n  clear: false\n\
         \x20 qemu-img-options: {compat: '0.10', cluster_size: 2M}\n  docker-target: server\n",
    );
    let expected = Request {
        elements: vec!["os".to_owned()],
        checksums: [Checksum::Md5, Checksum::Sha256].into(),
        image_size: Some(3 << 30),
        image_extra_size: Some(500 << 20),
        journal_mib: 16,
        mkfs_options: "-O x".to_owned(),
        offline: true,
        root_label: Some("r".to_owned()),
        skip_base: false,
        qcow2_compression: Qcow2Compression::None,
        qemu_img_options: Some("cluster_size=2M,compat=0.10".to_owned()),
        docker_target: Some("server".to_owned()),
        variables: [
            ("DIB_DEFAULT_INSTALLTYPE", "package"),
            ("DIB_DEBUG_TRACE", "1"),
            ("DIB_IMAGE_CACHE", "/c"),
            ("MAX_ONLINE_RESIZE", "4096"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into(),
        ..request()
    };
    assert_eq!(requests, [expected]);
}

#[test]
fn variables_of_an_image_change_the_build_as_the_callers_do() {
    let requests = requests(
        "- elements: [os]\n  environment: {DIB_IMAGE_SIZE: '1.5', FS_TYPE: xfs, ROOT_LABEL: l, DIB_OFFLINE: '1', DIB_CHECKSUM: md5,\n\
         \x20   DIB_BLOCK_DEVICE_CONFIG: '- local_loop: {name: x}'}\n",
    );
    let found = &requests[0];
    assert_eq!(found.image_size, Some(3 << 29));
    assert_eq!(
        (found.fs_type.as_str(), found.root_label.as_deref(), found.offline),
        ("xfs", Some("l"), true)
    );
    assert!(found.checksums.contains(&Checksum::Md5));
    assert_eq!(found.block_device.as_ref().unwrap().text, "- local_loop: {name: x}");
    let image = &images("- environment: {DIB_IMAGE_SIZE: big}\n").unwrap()[0];
    let faults = image.request(&request()).unwrap_err();
    assert_eq!(
        faults.0[0].message,
        "images.yaml: environment: DIB_IMAGE_SIZE: `big` is not a number above 0"
    );
}

#[test]
fn mistakes_are_told_with_file_and_line() {
    for (text, expected) in [
        (
            "- imagname: a\n",
            vec!["images.yaml:1:3: unknown key `imagname`\n  hint: did you mean `imagename`?"],
        ),
        (
            "- arch: amd46\n  checksum: 7\n",
            vec![
                "images.yaml:1:9: `arch`: `amd46` is not one of aarch64, amd64, arm64, armhf, powerpc, ppc64, ppc64el, ppc64le, s390x, x86_64\n  hint: did you mean `amd64`?",
                "images.yaml:2:13: `checksum`: true or false is expected here, not 7",
            ],
        ),
        (
            "- environment:\n    DIB_RELEASE: 9\n",
            vec![
                "images.yaml:2:18: `DIB_RELEASE`: a string is expected here, not an integer\n  hint: DIB_RELEASE: \"9\"",
            ],
        ),
        (
            "- ramdisk: true\n",
            vec!["images.yaml:1:12: `ramdisk`: ramdisk images are not made by this version"],
        ),
        ("- elements: [[a]]\n", vec!["images.yaml:1:14: `elements`: a name is expected here, not a list"]),
        ("- elements: [{a: 1}]\n", vec!["images.yaml:1:18: `a`: settings are expected here, not an integer"]),
        ("a: b\n", vec!["images.yaml:1:1: a list of images is expected here, not a mapping"]),
        ("- a\n", vec!["images.yaml:1:3: a mapping is expected here, not a string"]),
        (
            "- image-size: 0\n",
            vec!["images.yaml:1:15: `image-size`: a number above 0 is expected here, not 0"],
        ),
    ] {
        let told: Vec<String> = images(text).unwrap_err().0.iter().map(ToString::to_string).collect();
        assert_eq!(told, expected, "{text}");
    }
}
