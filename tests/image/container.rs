//! Container images of `dibw-image`: every digest and size in the archives is that of what they name, and the layer is a tar that GNU tar reads.

mod tools;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use dibw_image::container::{ContainerImage, LayerCompression, write_docker_archive, write_oci_archive};
use dibw_image::tar_stream::{TarOptions, write_tree};
use serde_json::Value;
use tools::{run, text};

fn image() -> ContainerImage {
    ContainerImage {
        architecture: "arm".to_owned(),
        variant: Some("v7".to_owned()),
        created: "2024-02-29T23:59:59Z".to_owned(),
        reference: Some("team/server:1".to_owned()),
    }
}

/// A tree with a file of more than one block.
fn tree(place: &Path) -> File {
    let root = place.join("tree");
    fs::create_dir_all(root.join("etc")).expect("create");
    fs::write(root.join("etc/hostname"), "server\n").expect("write");
    fs::write(root.join("large"), vec![7; 100_000]).expect("write");
    File::open(root).expect("open")
}

fn layer(root: &File, out: &mut dyn Write) -> anyhow::Result<()> {
    write_tree(root, out, &TarOptions::default()).map(drop)
}

/// Writes an archive twice, demands the same bytes, extracts it with GNU tar and gives the directory.
fn extracted(place: &Path, write: &dyn Fn(&File)) -> PathBuf {
    let paths = ["first.tar", "second.tar"].map(|name| place.join(name));
    for path in &paths {
        write(&File::options().read(true).write(true).create_new(true).open(path).expect("create"));
    }
    assert!(fs::read(&paths[0]).expect("read") == fs::read(&paths[1]).expect("read"), "not the same twice");
    assert_eq!(fs::metadata(&paths[0]).expect("it is there").len() % 10_240, 0);
    let directory = place.join("archive");
    fs::create_dir(&directory).expect("create");
    let said = run("tar", &["-xf", text(&paths[0]), "-C", text(&directory)]);
    assert_eq!(said, "", "tar has nothing to complain about");
    directory
}

fn sha256(file: &Path) -> String {
    run("sha256sum", &[text(file)]).split(' ').next().expect("a digest").to_owned()
}

fn json(file: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(file).expect("it is there")).expect("it is JSON")
}

/// The configuration says what the image is, and its one layer is `layer` uncompressed.
fn check_config(config: &Value, layer: &Path) {
    assert_eq!((&config["architecture"], &config["variant"]), (&"arm".into(), &"v7".into()));
    assert_eq!((&config["os"], &config["created"]), (&"linux".into(), &"2024-02-29T23:59:59Z".into()));
    assert_eq!(config["rootfs"]["diff_ids"], serde_json::json!([format!("sha256:{}", sha256(layer))]));
    let list = run("tar", &["-tf", text(layer)]);
    assert_eq!(list, "./\n./etc/\n./etc/hostname\n./large\n");
}

#[test]
fn a_docker_archive_is_what_its_manifest_says() {
    let place = tempfile::tempdir().expect("temporary directory");
    let root = tree(place.path());
    let directory = extracted(place.path(), &|out| {
        write_docker_archive(out, &image(), &mut |out| layer(&root, out)).expect("it can be written");
    });
    let manifest = json(&directory.join("manifest.json"));
    assert_eq!(manifest[0]["RepoTags"], serde_json::json!(["team/server:1"]));
    let config = directory.join(manifest[0]["Config"].as_str().expect("a name"));
    assert_eq!(config.file_stem().expect("a name").to_str(), Some(sha256(&config).as_str()));
    let layers = manifest[0]["Layers"].as_array().expect("a list");
    assert_eq!(layers.len(), 1);
    check_config(&json(&config), &directory.join(layers[0].as_str().expect("a name")));
}

#[test]
fn an_oci_layout_is_what_its_index_says() {
    let place = tempfile::tempdir().expect("temporary directory");
    let root = tree(place.path());
    let compression = LayerCompression { level: 6, threads: 2 };
    let directory = extracted(place.path(), &|out| {
        write_oci_archive(out, &image(), compression, &mut |out| layer(&root, out))
            .expect("it can be written");
    });
    assert_eq!(json(&directory.join("oci-layout"))["imageLayoutVersion"], "1.0.0");
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().and_then(|digest| digest.strip_prefix("sha256:"));
        let file = directory.join("blobs/sha256").join(digest.expect("a digest"));
        assert_eq!(Some(sha256(&file).as_str()), digest);
        assert_eq!(descriptor["size"], fs::metadata(&file).expect("it is there").len());
        file
    };
    let index = json(&directory.join("index.json"));
    let found = &index["manifests"][0];
    assert_eq!(found["annotations"]["org.opencontainers.image.ref.name"], "team/server:1");
    assert_eq!(found["platform"]["architecture"], "arm");
    let manifest = json(&blob(found));
    let packed = blob(&manifest["layers"][0]);
    let plain = place.path().join("layer.tar");
    run("sh", &["-c", &format!("gzip -dc '{}' >'{}'", packed.display(), plain.display())]);
    check_config(&json(&blob(&manifest["config"])), &plain);
}
