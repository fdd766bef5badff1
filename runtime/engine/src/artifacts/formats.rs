//! How each type of output is made: from the image file, or from the target's tree. Knows the formats' programs and options; names and
//! checksums are `artifacts`' affair, container images those of `container`.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use dibw_image::compress::{Gzip, Zstd};
use dibw_image::qcow2::{Compression, Qcow2Options};
use dibw_image::tar_stream::{TarOptions, write_tree};
use dibw_plan::{DiskWriter, OutputType};
use dibw_sys::artifact::{Artifact, path_of};
use dibw_sys::filter::Filter;

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

/// Bytes that are written at once.
const BUFFER: usize = 1 << 20;

impl Build<'_> {
    /// Writes an output to its file.
    pub(super) fn fill(&self, kind: OutputType, artifact: &Artifact) -> Result<()> {
        if let Some(writer) = kind.disk_writer(self.plan.qemu_img_options.as_deref()) {
            return self.fill_from_disk(kind, &writer, artifact);
        }
        let out = artifact.file();
        let mut buffered = BufWriter::with_capacity(BUFFER, out);
        match kind {
            OutputType::Tgz if !self.plan.gzip.is_empty() => self.filtered_tar(out)?,
            OutputType::Tgz => {
                let mut gzip = Gzip::new(buffered, GZIP_LEVEL, threads())?;
                self.write_tar(&mut gzip, self.tar_options())?;
                gzip.finish()?.flush()?;
            }
            OutputType::TarZst => {
                let mut zstd = Zstd::new(buffered, 3, threads())?;
                self.write_tar(&mut zstd, self.tar_options())?;
                zstd.finish()?.flush()?;
            }
            OutputType::Aci => {
                self.write_tar(&mut buffered, self.aci_options())?;
                buffered.flush()?;
            }
            OutputType::Docker => self.write_docker(out)?,
            OutputType::Oci => self.write_oci(out)?,
            OutputType::Squashfs => self.write_squashfs(artifact)?,
            _ => {
                self.write_tar(&mut buffered, self.tar_options())?;
                buffered.flush()?;
            }
        }
        Ok(())
    }

    fn fill_from_disk(&self, kind: OutputType, writer: &DiskWriter, artifact: &Artifact) -> Result<()> {
        let image = self.main_image()?;
        let out = artifact.file();
        match writer {
            DiskWriter::Copy => {
                let length = image.metadata()?.len();
                dibw_image::sparse::copy_sparse_while(&image, out, length, &mut || self.go_on())?;
            }
            DiskWriter::Qcow2 => {
                let mut options = Qcow2Options { threads: threads(), ..Qcow2Options::default() };
                if self.plan.uncompressed {
                    options.compression = Compression::None;
                }
                dibw_image::qcow2::write_while(&image, &mut out.try_clone()?, &options, &mut || {
                    self.go_on()
                })?;
            }
            DiskWriter::QemuImg { format, options } => {
                let mut argv = words(&["qemu-img", "convert"]);
                if kind == OutputType::Qcow2 && !self.plan.uncompressed {
                    argv.extend(words(&["-c"]));
                }
                // The format is said, not guessed from what hooks have written into the image.
                argv.extend(words(&["-f", "raw", "-O", format]));
                argv.extend(options.iter().flat_map(|options| words(&["-o", options])));
                let (from, to) = (path_of(&image), artifact.open_path());
                argv.extend([&from, &to].map(|path| path.display().to_string()));
                let names = [(to.as_path(), &*artifact.final_path()), (&from, Path::new("image.raw"))];
                self.run_tool(&HostTool { argv, ..HostTool::default() }, &names)?;
            }
        }
        Ok(())
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

    /// The image that becomes disk outputs: the first one of the layout.
    fn main_image(&self) -> Result<File> {
        let disk = self.plan.disk.as_ref().context("a disk output without a disk in the plan")?;
        let Some(image) = disk.layout.images.first() else { bail!("a disk layout without an image") };
        self.machine().image(&image.name)
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

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
