//! Every type of output of a tiny operating system, several at once in both orders, judged by the programs that read them: qemu-img,
//! unsquashfs, GNU tar. Seconds, no network; needs root.

use std::fs;
use std::path::Path;
use std::process::Command;

use dibw_tests::dibw::{Dibw, root};

/// The types that qemu-img writes, and its own name for each.
const BY_QEMU_IMG: [(&str, &str); 8] = [
    ("vhd", "vpc"),
    ("vhdx", "vhdx"),
    ("vmdk", "vmdk"),
    ("vdi", "vdi"),
    ("vpc", "vpc"),
    ("qed", "qed"),
    ("qcow", "qcow"),
    ("parallels", "parallels"),
];

/// Bytes of the disk: no whole number of cylinders, so that a size rounded to a geometry shows.
const SIZE: u64 = 300 << 20;

/// `dibw build` without `base`, plain lines, a small disk with its root in a partition.
fn build(dibw: Dibw, types: &str) -> Dibw {
    let dibw = dibw.args(["build", "-n", "--log-format", "plain", "--image-size", "300MiB", "-t", types]);
    dibw.args(["fake-os", "block-device-gpt"])
}

/// Runs a tool in the directory of the artifacts and demands success; gives its standard output.
fn tool(directory: &Path, program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).current_dir(directory).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {args:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).expect("it is JSON")
}

/// Names in the directory that begin with `image`, sorted, without checksums and records.
fn outputs(dibw: &Dibw) -> Vec<String> {
    let entries = fs::read_dir(dibw.dir()).expect("it is there");
    let names = entries.map(|entry| entry.expect("listed").file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names
        .filter(|name| name.starts_with("image"))
        .filter(|name| {
            ![".sha256", ".md5", "json", "jsonl", ".report.html"].iter().any(|suffix| name.ends_with(suffix))
        })
        .collect();
    names.sort();
    names
}

/// Whether some clusters of a qcow2 are compressed.
fn is_compressed(directory: &Path, image: &str) -> bool {
    let check = json(&tool(directory, "qemu-img", &["check", "--output=json", image]));
    check["compressed-clusters"].as_u64().unwrap_or(0) > 0
}

/// The tree of an archive: what must be there is, and nothing of the build machine.
fn check_list(list: &str, top: &str) {
    let paths: Vec<&str> = list.lines().filter_map(|path| path.strip_prefix(top)).collect();
    for wanted in ["usr/bin/bash", "etc/os-release", "link", "proc", "sys", "dev", "run"] {
        assert!(paths.iter().any(|path| path.trim_end_matches('/') == wanted), "no {wanted}: {list}");
    }
    for path in paths {
        let (top, rest) = path.split_once('/').unwrap_or((path, ""));
        assert!(rest.is_empty() || !["proc", "sys", "dev", "run"].contains(&top), "{path}");
        assert!(!path.contains("lost+found") && !path.contains("in_target.d"), "{path}");
    }
}

#[test]
fn every_type_at_once_in_both_orders() {
    if !root("every_type_at_once_in_both_orders") {
        return;
    }
    let mut types = vec!["vmdk", "qcow2", "raw", "squashfs", "tar", "tgz", "tar.zst", "docker", "oci", "aci"];
    types.extend(BY_QEMU_IMG.iter().map(|(name, _)| *name).filter(|name| *name != "vmdk"));
    for turned in [false, true] {
        if turned {
            types.reverse();
        }
        let dibw = Dibw::new();
        // A link out of the tree is written as a link, and never followed.
        dibw.file(
            "e/link/install.d/50-link",
            "#!/bin/bash\nln -s /etc/hostname /link\nln -s ../../../../.. /etc/up\n",
        );
        dibw.file("manifest.json", "{\"acKind\": \"ImageManifest\"}\n");
        let elements = dibw.dir().join("e");
        let manifest = dibw.dir().join("manifest.json");
        let dibw = build(dibw.elements(elements), &types.join(",")).args([
            "link",
            "--docker-target",
            "fake:1",
            "--md5",
        ]);
        let dibw = dibw.env("ACI_MANIFEST", manifest).env("SOURCE_DATE_EPOCH", "1700000000");
        let ran = dibw.succeed();
        let mut expected: Vec<String> =
            types.iter().map(|name| format!("image.{}", name.replace("squashfs", "squash"))).collect();
        expected.sort();
        assert_eq!(outputs(&dibw), expected);
        for output in &expected {
            assert!(ran.stdout.lines().any(|line| line == output), "{output}: {}", ran.stdout);
        }
        check_digests(dibw.dir(), expected.len());
        check_disks(dibw.dir());
        check_archives(dibw.dir());
        check_containers(dibw.dir());
    }
}

/// Digests taken on the way are those of the files.
fn check_digests(directory: &Path, outputs: usize) {
    for program in ["sha256sum", "md5sum"] {
        let suffix = program.trim_end_matches("sum");
        let said = tool(directory, "sh", &["-c", &format!("{program} --strict -c image.*.{suffix}")]);
        assert_eq!(said.lines().count(), outputs, "{said}");
    }
}

fn check_disks(directory: &Path) {
    tool(directory, "qemu-img", &["compare", "-f", "raw", "-F", "qcow2", "image.raw", "image.qcow2"]);
    assert!(is_compressed(directory, "image.qcow2"), "another format took the compression away");
    for (name, format) in BY_QEMU_IMG {
        let image = format!("image.{name}");
        let info = json(&tool(directory, "qemu-img", &["info", "--output=json", "-f", format, &image]));
        // Plain `vpc` is rounded to a geometry by qemu-img; as `vhd` it has the disk's size.
        if name != "vpc" {
            assert_eq!(info["virtual-size"], SIZE, "{name}");
        }
        tool(directory, "qemu-img", &["compare", "-f", "raw", "-F", format, "image.raw", &image]);
    }
}

fn check_archives(directory: &Path) {
    for (output, option) in
        [("image.tar", None), ("image.tgz", Some("-z")), ("image.tar.zst", Some("--zstd"))]
    {
        let args: Vec<&str> = option.into_iter().chain(["-tf", output]).collect();
        check_list(&tool(directory, "tar", &args), "./");
    }
    let list = tool(directory, "tar", &["-tf", "image.aci"]);
    assert_eq!(list.lines().last(), Some("manifest"));
    check_list(&list, "rootfs/");
    let manifest = tool(directory, "tar", &["-xOf", "image.aci", "manifest"]);
    assert_eq!(manifest, "{\"acKind\": \"ImageManifest\"}\n");
    check_list(&tool(directory, "unsquashfs", &["-ls", "image.squash"]), "squashfs-root/");
    let long = tool(directory, "unsquashfs", &["-lls", "image.squash"]);
    assert!(long.contains("squashfs-root/link -> /etc/hostname"), "{long}");
    let facts = tool(directory, "unsquashfs", &["-stat", "image.squash"]);
    assert!(facts.contains("Compression xz"), "{facts}");
}

/// Digests within: tests/image/container.rs. Here: the image is this one, and where an engine answers, it runs.
fn check_containers(directory: &Path) {
    let manifest = json(&tool(directory, "tar", &["-xOf", "image.docker", "manifest.json"]));
    assert_eq!(manifest[0]["RepoTags"], serde_json::json!(["fake:1"]));
    let layer = manifest[0]["Layers"][0].as_str().expect("a name");
    let digest = layer.strip_suffix(".tar").expect("a tar");
    let extract =
        format!("tar -xOf image.docker {layer} | sha256sum; tar -xOf image.docker {layer} | tar -t");
    let said = tool(directory, "sh", &["-c", &extract]);
    let (sum, list) = said.split_once('\n').expect("two answers");
    assert!(sum.starts_with(digest), "{sum} {digest}");
    check_list(list, "./");
    let index = json(&tool(directory, "tar", &["-xOf", "image.oci", "index.json"]));
    assert_eq!(index["manifests"][0]["platform"]["os"], "linux");
    let answers = Command::new("docker").arg("info").output().is_ok_and(|output| output.status.success());
    if !answers {
        eprintln!("skipped: no docker answers, so nothing loaded the image");
        return;
    }
    let release = tool(directory, "docker", &["run", "--rm", "fake:1", "/bin/cat", "/etc/os-release"]);
    assert!(release.contains("ID=fake"), "{release}");
    tool(directory, "docker", &["image", "rm", "fake:1"]);
}

#[test]
fn qcow2_as_the_options_say() {
    if !root("qcow2_as_the_options_say") {
        return;
    }
    const ZSTD: &str = "--qcow2-compression=zstd";
    let cases: [(&[&str], Option<&str>, &str, u64); 8] = [
        (&["--qemu-img-options", "compat=1.1"], Some("zlib"), "1.1", 65_536),
        (&["--uncompressed"], None, "1.1", 65_536),
        (&["--qcow2-compression", "zlib"], Some("zlib"), "1.1", 65_536),
        (&[ZSTD], Some("zstd"), "1.1", 65_536),
        (&["--qcow2-compression", "none"], None, "1.1", 65_536),
        (&["--qemu-img-options", "compat=0.10,cluster_size=128k"], Some("zlib"), "0.10", 131_072),
        (&["-u", "--qemu-img-options", "compat=0.10"], None, "0.10", 65_536),
        (&[ZSTD, "--qemu-img-options", "cluster_size=128k"], Some("zstd"), "1.1", 131_072),
    ];
    for (args, compression, compat, cluster_size) in cases {
        let dibw = build(Dibw::new(), "qcow2,raw").args(args);
        let _ = dibw.succeed();
        let info = json(&tool(dibw.dir(), "qemu-img", &["info", "--output=json", "image.qcow2"]));
        assert_eq!(info["format-specific"]["data"]["compat"], compat, "{args:?}");
        assert_eq!(info["cluster-size"], cluster_size, "{args:?}");
        assert_eq!(is_compressed(dibw.dir(), "image.qcow2"), compression.is_some(), "{args:?}");
        if let (Some(compression), "1.1") = (compression, compat) {
            assert_eq!(info["format-specific"]["data"]["compression-type"], compression, "{args:?}");
        }
        tool(dibw.dir(), "qemu-img", &["compare", "image.raw", "image.qcow2"]);
    }
}

/// Options that qemu-img refuses are found before anything is done, whatever the format.
#[test]
fn options_that_the_format_has_not_are_found_early() {
    if !root("options_that_the_format_has_not_are_found_early") {
        return;
    }
    for (types, options) in [
        ("qcow2", "cluster_sise=2M"),
        ("vmdk", "subformat=monolithicFlat"),
        ("raw,vmdk,qcow2", "compat=0.10"),
    ] {
        let dibw = build(Dibw::new(), types).args(["--qemu-img-options", options]);
        let ran = dibw.run();
        assert_eq!(ran.code, 2, "{types} {options}: {}", ran.stderr);
        assert!(ran.stderr.contains(&format!("with the options {options}: ")), "{}", ran.stderr);
        assert!(outputs(&dibw).is_empty());
    }
}

#[test]
fn another_gzip_is_used_and_its_failure_told() {
    if !root("another_gzip_is_used_and_its_failure_told") {
        return;
    }
    let dibw = build(Dibw::new(), "tgz,tar").env("DIB_GZIP_BIN", "/bin/gzip --no-name");
    let _ = dibw.succeed();
    assert_eq!(outputs(&dibw), ["image.tar", "image.tgz"]);
    // Ours is many members of 1 MiB; this is one, of the best compression (RFC 1952: XFL 2).
    assert_eq!(
        fs::read(dibw.dir().join("image.tgz")).expect("it is there")[..9],
        [31, 139, 8, 0, 0, 0, 0, 0, 2]
    );
    let extracted = "gzip -dc image.tgz | cmp - image.tar";
    tool(dibw.dir(), "sh", &["-c", extracted]);

    let dibw = build(Dibw::new(), "tgz").env("DIB_GZIP_BIN", "/bin/false");
    let ran = dibw.run();
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("/bin/false -9: exit status: 1"), "{}", ran.stderr);
    assert!(outputs(&dibw).is_empty());
}

#[test]
fn no_final_image_and_what_takes_room() {
    if !root("no_final_image_and_what_takes_room") {
        return;
    }
    let dibw = Dibw::new();
    dibw.file("e/no-final-image/block-device.d/10-own", "#!/bin/bash\necho done by the element\n");
    dibw.file(
        "e/large/install.d/10-large",
        "#!/bin/bash\ndd if=/dev/zero of=/opt/large bs=1M count=11 2>&1\n",
    );
    let elements = dibw.dir().join("e");
    let dibw = build(dibw.elements(elements), "qcow2,tar").args(["no-final-image", "large"]);
    let ran = dibw.env("DIB_SHOW_IMAGE_USAGE", "1");
    let said = ran.succeed().stderr;
    assert_eq!(outputs(&ran), ["image.tar"]);
    for wanted in [" 11264 /opt/large\n", " /opt\n", " /\n"] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    assert!(!said.contains("/etc/os-release"), "{said}");
}
