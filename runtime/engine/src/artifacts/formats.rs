//! How each type of output is made from the target's tree. Knows the formats' programs and options; names and checksum files are `artifacts`'
//! affair, disks those of `disks`, container images those of `container`.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use dibw_image::checksum::{Digests, Sums};
use dibw_image::compress::{Gzip, Zstd};
use dibw_image::tar_stream::{TarOptions, write_tree};
use dibw_plan::OutputType;
use dibw_sys::artifact::Artifact;
use dibw_sys::filter::Filter;

use super::Pending;
use crate::events::Level;
use crate::machine::HostTool;
use crate::run::Build;

/// What is mounted or made in these directories while building is not the image's.
const EMPTIED: [&str; 4] = ["proc", "sys", "dev", "run"];

/// The same for diskimage-builder's commands: `/run` always was part of their archives.
const EMPTIED_CLASSIC: [&str; 3] = ["proc", "sys", "dev"];

/// What ext file systems have at their top, for fsck alone.
const LOST: &str = "lost+found";

/// Level of gzip: what diskimage-builder asks for.
pub(super) const GZIP_LEVEL: u32 = 9;

/// Level of zstd: its own default.
pub(super) const ZSTD_LEVEL: i32 = 3;

/// Bytes that are written at once.
const BUFFER: usize = 1 << 20;

impl Build<'_> {
    /// Writes an output, the first, and its companion to their files, with the digests that can be taken on the way.
    pub(super) fn fill(&self, kind: OutputType, outputs: &mut [Pending]) -> Result<()> {
        let Some((output, companions)) = outputs.split_first_mut() else { return Ok(()) };
        let artifact = &output.artifact;
        let out = artifact.file();
        output.sums = match kind {
            OutputType::Tgz if !self.plan.gzip.is_empty() => self.filtered_tar(out).map(|()| None)?,
            OutputType::Tgz => self.stream(out, |out| {
                let mut gzip = Gzip::new(out, GZIP_LEVEL, threads())?;
                self.write_tar(&mut gzip, self.tar_options())?;
                Ok(gzip.finish().map(drop)?)
            })?,
            OutputType::TarZst => self.stream(out, |out| {
                let mut zstd = Zstd::new(out, ZSTD_LEVEL, threads())?;
                self.write_tar(&mut zstd, self.tar_options())?;
                Ok(zstd.finish().map(drop)?)
            })?,
            OutputType::Tar => self.stream(out, |out| self.write_tar(out, self.tar_options()))?,
            OutputType::Aci => self.stream(out, |out| self.write_tar(out, self.aci_options()))?,
            OutputType::Docker => self.write_docker(out).map(|()| None)?,
            OutputType::Oci => self.write_oci(out).map(|()| None)?,
            OutputType::Squashfs => self.write_squashfs(artifact).map(|()| None)?,
            OutputType::Raw
            | OutputType::Qcow2
            | OutputType::Vhd
            | OutputType::Vhdx
            | OutputType::Vmdk
            | OutputType::Vdi
            | OutputType::Vpc
            | OutputType::Qed
            | OutputType::Qcow
            | OutputType::Parallels => self.write_disk(kind, artifact, companions.first_mut())?,
        };
        Ok(())
    }

    /// What `write` writes, to the file, with its digests.
    fn stream(&self, out: &File, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<Option<Sums>> {
        let mut buffered = BufWriter::with_capacity(BUFFER, out);
        let Some(algorithms) = self.algorithms() else {
            write(&mut buffered)?;
            buffered.flush()?;
            return Ok(None);
        };
        let mut digests = Digests::new(buffered, algorithms)?;
        write(&mut digests)?;
        Ok(Some(digests.finish()?.1))
    }

    /// Through the compressor that the user prefers to ours.
    fn filtered_tar(&self, out: &File) -> Result<()> {
        let mut argv = self.plan.gzip.clone();
        argv.push(format!("-{GZIP_LEVEL}"));
        let mut filter = Filter::start(&argv, out)?;
        let written = self.write_tar(&mut BufWriter::with_capacity(BUFFER, &mut filter), self.tar_options());
        // Why it went early matters more than that it did.
        filter.finish()?;
        written
    }

    pub(super) fn write_tar(&self, out: &mut dyn Write, options: TarOptions) -> Result<()> {
        let target = self.machine().target()?;
        let mut out = Stoppable { out, go_on: &|| self.go_on() };
        let root = File::open(&target).with_context(|| format!("opening {}", target.display()))?;
        write_tree(&root, &mut out, &options).map(drop)
    }

    fn emptied(&self) -> &'static [&'static str] {
        if self.plan.classic { &EMPTIED_CLASSIC } else { &EMPTIED }
    }

    /// What an archive of the tree has and has not.
    pub(super) fn tar_options(&self) -> TarOptions {
        TarOptions {
            emptied: self.emptied().iter().map(OsString::from).collect(),
            omitted: self.lost_directories(),
            latest_mtime: self.epoch(),
            ..TarOptions::default()
        }
    }

    /// An archive of the App Container format: the tree in `rootfs` and its manifest beside it.
    fn aci_options(&self) -> TarOptions {
        if self.plan.aci_manifest.is_none() {
            let text = "no manifest for the aci: ACI_MANIFEST names none; it must be added to the archive";
            self.message(Level::Warn, "", text);
        }
        let manifest = self.plan.aci_manifest.iter();
        TarOptions {
            prefix: Some("rootfs".to_owned()),
            appended: manifest.map(|text| ("manifest".to_owned(), text.clone().into_bytes())).collect(),
            ..self.tar_options()
        }
    }

    /// `lost+found` of the root and of every other file system of the image.
    fn lost_directories(&self) -> Vec<PathBuf> {
        let mounts = self.plan.disk.iter().flat_map(|disk| &disk.layout.mounts);
        let mounts = mounts.map(|mount| mount.mount_point.trim_matches('/'));
        std::iter::once("").chain(mounts).map(|at| Path::new(at).join(LOST)).collect()
    }

    /// The time that stands for now in a build that is to give the same bytes again.
    fn epoch(&self) -> Option<u64> {
        Some(self.plan.source_date_epoch).filter(|epoch| *epoch > 0)
    }

    fn write_squashfs(&self, artifact: &Artifact) -> Result<()> {
        let target = self.machine().target()?;
        let (from, to) = (target.display().to_string(), artifact.open_path().display().to_string());
        let mut argv = words(&["mksquashfs", &from, &to, "-comp", "xz", "-noappend", "-no-recovery"]);
        argv.extend(words(&["-no-progress", "-wildcards"]));
        if let Some(epoch) = self.epoch() {
            let epoch = epoch.to_string();
            argv.extend(words(&["-mkfs-time", &epoch, "-all-time", &epoch]));
        }
        argv.extend(words(&["-e"]));
        argv.extend(self.emptied().iter().flat_map(|name| [format!("{name}/*"), format!("{name}/.*")]));
        argv.extend(self.lost_directories().iter().map(|path| path.display().to_string()));
        let tool = HostTool { argv, ..HostTool::default() };
        self.run_tool(&tool, &[(Path::new(&to), &artifact.final_path())])
    }
}

/// A writer that fails once the build was told to stop.
struct Stoppable<'a> {
    out: &'a mut dyn Write,
    go_on: &'a dyn Fn() -> Result<()>,
}

impl Write for Stoppable<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (self.go_on)().map_err(io::Error::other)?;
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Worker threads of our own compressors.
pub(super) fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// As a command line has them.
pub(super) fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
