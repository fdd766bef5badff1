//! Container images of one layer, as archives: what `docker save` writes, and the OCI image layout.
//!
//! Owns the archive around a layer: its order, its JSON, its digests. Must not know what is in the layer, nor any container
//! engine. Called by the engine with a function that writes the layer's tar stream.
//!
//! Formats: github.com/moby/docker-image-spec (v1.3, "Combined Image JSON + Filesystem Changeset Format") and
//! github.com/opencontainers/image-spec (v1.1, image-layout, manifest, config).
//!
//! The layer comes first in the archive and is written once: its header, which has name and size, is put in front of it when it
//! is there.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::checksum::{Algorithms, Digests, Sums, sha256_of};
use crate::compress::Gzip;
use crate::tar_stream::RECORD;
use crate::tar_stream::header::{Entry, LATE_LENGTH};

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// Where an OCI layout has its contents, by digest.
const BLOBS: &str = "blobs/sha256/";

/// What is said of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerImage {
    /// Architecture in Go's spelling (`GOARCH`), which both formats use.
    pub architecture: String,
    /// Variant of the architecture (`v7`), where there is one.
    pub variant: Option<String>,
    /// When it was made, as RFC 3339 has it.
    pub created: String,
    /// Name and tag.
    pub reference: Option<String>,
}

/// Writes the layer, an uncompressed tar stream, to where it is told.
pub type WriteLayer<'a> = dyn FnMut(&mut dyn Write) -> Result<()> + 'a;

/// How a layer is compressed in an OCI layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerCompression {
    /// Level of gzip, 1 to 12.
    pub level: u32,
    /// Worker threads.
    pub threads: usize,
}

/// Writes to the empty file `out` what `docker load` and `podman load` take.
///
/// # Errors
/// When the layer or the file can't be written.
pub fn write_docker_archive(out: &File, image: &ContainerImage, layer: &mut WriteLayer<'_>) -> Result<()> {
    let mut archive = Archive { out, position: 0 };
    let start = archive.begin()?;
    let mut digests = Digests::new(BufWriter::with_capacity(1 << 20, out), Algorithms::Sha256)?;
    layer(&mut digests)?;
    let (_, sums) = digests.finish().context("cannot write the layer")?;
    let layer_name = format!("{}.tar", sums.sha256);
    archive.end(start, &layer_name, sums.bytes)?;
    let config = config(image, &sums.sha256).to_string();
    let config_name = format!("{}.json", sha256_of(config.as_bytes()));
    archive.file(&config_name, config.as_bytes())?;
    let tags: Vec<&str> = image.reference.as_deref().into_iter().collect();
    let manifest = json!([{ "Config": config_name, "RepoTags": tags, "Layers": [layer_name] }]);
    archive.file("manifest.json", manifest.to_string().as_bytes())?;
    archive.finish()
}

/// Writes to the empty file `out` an OCI image layout as a tar archive.
///
/// # Errors
/// When the layer or the file can't be written.
pub fn write_oci_archive(
    out: &File,
    image: &ContainerImage,
    compression: LayerCompression,
    layer: &mut WriteLayer<'_>,
) -> Result<()> {
    let mut archive = Archive { out, position: 0 };
    for path in ["blobs/", BLOBS] {
        archive.entry(&Entry::directory(path))?;
    }
    let start = archive.begin()?;
    let packed = Digests::new(BufWriter::with_capacity(1 << 20, out), Algorithms::Sha256)?;
    let gzip = Gzip::new(packed, compression.level, compression.threads)?;
    let mut plain = Digests::new(gzip, Algorithms::Sha256)?;
    layer(&mut plain)?;
    let finish = || -> std::io::Result<(Sums, Sums)> {
        let (gzip, plain) = plain.finish()?;
        Ok((gzip.finish()?.finish()?.1, plain))
    };
    let (packed, plain) = finish().context("cannot write the layer")?;
    archive.end(start, &format!("{BLOBS}{}", packed.sha256), packed.bytes)?;

    let config = archive.blob(&config(image, &plain.sha256), OCI_CONFIG)?;
    let layer = descriptor(OCI_LAYER, &packed.sha256, packed.bytes);
    let manifest =
        json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer] });
    let mut manifest = archive.blob(&manifest, OCI_MANIFEST)?;
    manifest["platform"] = platform(image);
    if let Some(reference) = &image.reference {
        manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": reference });
    }
    let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [manifest] });
    archive.file("index.json", index.to_string().as_bytes())?;
    archive.file("oci-layout", json!({ "imageLayoutVersion": "1.0.0" }).to_string().as_bytes())?;
    archive.finish()
}

/// The configuration, which both formats share. No program is started by default: an element knows none.
fn config(image: &ContainerImage, layer: &str) -> Value {
    let mut config = platform(image);
    config["created"] = json!(image.created);
    config["config"] = json!({});
    config["rootfs"] = json!({ "type": "layers", "diff_ids": [format!("sha256:{layer}")] });
    config["history"] = json!([{ "created": image.created, "created_by": "dibw" }]);
    config
}

fn platform(image: &ContainerImage) -> Value {
    let mut platform = json!({ "architecture": image.architecture, "os": "linux" });
    if let Some(variant) = &image.variant {
        platform["variant"] = json!(variant);
    }
    platform
}

fn descriptor(media_type: &str, sha256: &str, size: u64) -> Value {
    json!({ "mediaType": media_type, "digest": format!("sha256:{sha256}"), "size": size })
}

/// The archive under construction.
struct Archive<'a> {
    out: &'a File,
    /// Bytes so far.
    position: u64,
}

impl Archive<'_> {
    /// Leaves room for a header; what is written to the file now is the content. Gives the place of the header.
    fn begin(&mut self) -> Result<u64> {
        let start = self.position;
        self.position += LATE_LENGTH;
        self.out.seek(SeekFrom::Start(self.position)).context("cannot write the archive")?;
        Ok(start)
    }

    /// Puts the header in front of the content that was written since.
    fn end(&mut self, start: u64, name: &str, size: u64) -> Result<()> {
        let blocks = Entry::file(name, size).late_blocks()?;
        self.out.write_all_at(&blocks, start).context("cannot write the archive")?;
        self.position += size;
        self.pad(512)
    }

    fn entry(&mut self, entry: &Entry) -> Result<()> {
        self.put(&entry.blocks()?)
    }

    fn file(&mut self, name: &str, content: &[u8]) -> Result<()> {
        self.entry(&Entry::file(name, content.len() as u64))?;
        self.put(content)?;
        self.pad(512)
    }

    /// A JSON value named by its digest. Gives its descriptor.
    fn blob(&mut self, value: &Value, media_type: &str) -> Result<Value> {
        let text = value.to_string();
        let sha256 = sha256_of(text.as_bytes());
        self.file(&format!("{BLOBS}{sha256}"), text.as_bytes())?;
        Ok(descriptor(media_type, &sha256, text.len() as u64))
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all_at(bytes, self.position).context("cannot write the archive")?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    fn pad(&mut self, to: u64) -> Result<()> {
        let zeros = self.position.next_multiple_of(to) - self.position;
        self.put(&vec![0; usize::try_from(zeros).context("padding")?])
    }

    /// Two zero blocks, then zeros to a whole record.
    fn finish(mut self) -> Result<()> {
        self.put(&[0; 1024])?;
        self.pad(RECORD)
    }
}
