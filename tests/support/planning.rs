//! Requests and elements made of text, for tests of planning. No files.

use std::collections::{BTreeMap, BTreeSet};

use dibw_compat::classic::{ElementFiles, FileEntry, Kind, parse};
use dibw_plan::{Catalogue, Checksum, Element, Manifest, Qcow2Compression, Request, Typed};

/// A request for nothing yet: qcow2 on amd64, without `base`.
pub fn request() -> Request {
    Request {
        elements: Vec::new(),
        output: "image".to_owned(),
        types: vec!["qcow2".to_owned()],
        arch: "amd64".to_owned(),
        packages: Vec::new(),
        skip_base: true,
        image_size: None,
        image_extra_size: None,
        settings: BTreeMap::new(),
        variables: BTreeMap::new(),
        block_device: None,
        fs_type: "ext4".to_owned(),
        root_label: None,
        mkfs_options: String::new(),
        journal_mib: 64,
        checksums: BTreeSet::from([Checksum::Sha256]),
        overwrite: false,
        offline: false,
        refresh: false,
        source_date_epoch: 0,
        seed: "image".to_owned(),
        classic: false,
        ramdisk: false,
        qcow2_compression: Qcow2Compression::Zlib,
        qemu_img_options: None,
        docker_target: None,
        push: None,
        aci_manifest: None,
    }
}

/// The listing of an element: path and content. Files in `<phase>.d` are executable, parents are added.
pub fn files(name: &str, contents: &[(&str, &str)]) -> ElementFiles {
    let mut entries: BTreeMap<String, FileEntry> = BTreeMap::new();
    for (path, content) in contents {
        let mut parent = *path;
        while let Some((directory, _)) = parent.rsplit_once('/') {
            let entry = FileEntry {
                path: directory.to_owned(),
                kind: Kind::Directory,
                mode: 0o755,
                sha256: None,
                content: None,
            };
            entries.insert(directory.to_owned(), entry);
            parent = directory;
        }
        let executable = path.contains(".d/") && !path.starts_with("environment.d/");
        let entry = FileEntry {
            path: (*path).to_owned(),
            kind: Kind::File,
            mode: if executable { 0o755 } else { 0o644 },
            sha256: Some(format!("hash of {content}")),
            content: Some(content.as_bytes().to_vec()),
        };
        entries.insert((*path).to_owned(), entry);
    }
    ElementFiles {
        name: name.to_owned(),
        path: format!("/elements/{name}"),
        entries: entries.into_values().collect(),
    }
}

/// A classic element.
pub fn classic(name: &str, contents: &[(&str, &str)]) -> Element {
    parse(&files(name, contents)).expect("the element of the test is well-formed")
}

/// A typed element with that manifest, and nothing else.
pub fn typed(manifest: &str) -> Element {
    let manifest = Manifest::from_json(manifest.as_bytes()).expect("the manifest of the test is well-formed");
    let name = manifest.id.clone();
    Element {
        name: name.clone(),
        path: format!("/elements/{name}.wasm"),
        digest: format!("digest of {name}"),
        typed: Some(Typed {
            component: format!("/elements/{name}.wasm"),
            digest: format!("digest of {name}"),
            manifest,
            signers: Vec::new(),
        }),
        ..Element::default()
    }
}

/// A catalogue of those elements.
pub fn catalogue(elements: impl IntoIterator<Item = Element>) -> Catalogue {
    Catalogue {
        elements: elements.into_iter().map(|element| (element.name.clone(), element)).collect(),
        ..Catalogue::default()
    }
}
