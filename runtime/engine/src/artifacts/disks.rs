//! Disk outputs, made from the image file: by our own code where we have it, else by qemu-img. Knows qemu-img's options; names and checksum
//! files are `artifacts`' affair.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, bail};
use dibw_image::checksum::Sums;
use dibw_image::qcow2::{Compression, Qcow2Options, write_while};
use dibw_image::sparse::{SparseCopy, copy_sparse_while};
use dibw_plan::{Action, DiskWriter, OutputType, Qcow2Compression};
use dibw_sys::artifact::{Artifact, path_of};

use super::Pending;
use super::formats::{ZSTD_LEVEL, threads, words};
use crate::machine::HostTool;
use crate::run::Build;

impl Build<'_> {
    /// The output that is written in one pass over the image with this one: raw with qcow2, where our own code writes that.
    pub(super) fn companion(&self, kind: OutputType) -> Option<OutputType> {
        let raw = Action::Output { kind: OutputType::Raw };
        let own = self.disk_writer(kind) == Some(DiskWriter::Qcow2);
        (own && self.plan.steps.iter().any(|step| step.action == raw)).then_some(OutputType::Raw)
    }

    /// Writes a disk format, with the raw output that goes with it. Gives the digests where they are known by then.
    pub(super) fn write_disk(
        &self,
        kind: OutputType,
        artifact: &Artifact,
        raw: Option<&mut Pending>,
    ) -> Result<Option<Sums>> {
        let image = self.main_image()?;
        match self.disk_writer(kind).context("not a disk format")? {
            DiskWriter::Copy => {
                let length = image.metadata()?.len();
                copy_sparse_while(&image, artifact.file(), length, self.algorithms(), &mut || self.go_on())
            }
            DiskWriter::Qcow2 => self.write_qcow2(&image, artifact.file(), raw),
            DiskWriter::QemuImg { format, options } => {
                self.convert(kind, &image, artifact, format, options).map(|()| None)
            }
        }
    }

    fn disk_writer(&self, kind: OutputType) -> Option<DiskWriter> {
        kind.disk_writer(self.plan.qemu_img_options.as_deref())
    }

    /// The raw output is copied where the compressors read next, so that both need one pass over the disk.
    ///
    /// A qcow2 begins with where its tables are, and they follow the data: no digest can begin before all is compressed. It is
    /// taken then, from pages that are still in memory, while that of the raw output ends.
    fn write_qcow2(&self, image: &File, out: &File, raw: Option<&mut Pending>) -> Result<Option<Sums>> {
        let length = image.metadata()?.len();
        let compression = match self.plan.qcow2_compression {
            Qcow2Compression::Zlib => Qcow2Options::default().compression,
            Qcow2Compression::Zstd => Compression::Zstd { level: ZSTD_LEVEL },
            Qcow2Compression::None => Compression::None,
        };
        let options = Qcow2Options { compression, threads: threads(), ..Qcow2Options::default() };
        let mut copy = match &raw {
            Some(raw) => Some(SparseCopy::start(image, raw.artifact.file(), length, self.algorithms())?),
            None => None,
        };
        let mut copy_up_to = |end| {
            self.go_on()?;
            copy.as_mut().map_or(Ok(()), |copy| copy.up_to(end)).context("writing the raw output")
        };
        write_while(image, &mut out.try_clone()?, &options, &mut copy_up_to)?;
        copy_up_to(length)?;
        let sums = self.digests_of(out)?;
        let sums_of_copy = copy.map(SparseCopy::finish).transpose()?.flatten();
        if let Some(raw) = raw {
            raw.sums = sums_of_copy;
        }
        Ok(sums)
    }

    fn convert(
        &self,
        kind: OutputType,
        image: &File,
        artifact: &Artifact,
        format: &str,
        options: Option<String>,
    ) -> Result<()> {
        let mut argv = words(&["qemu-img", "convert"]);
        if kind == OutputType::Qcow2 {
            argv.extend(words(match self.plan.qcow2_compression {
                Qcow2Compression::Zlib => &["-c"],
                // What the user's own options say comes later and counts.
                Qcow2Compression::Zstd => &["-c", "-o", "compression_type=zstd"],
                Qcow2Compression::None => &[],
            }));
        }
        // The format is said, not guessed from what hooks have written into the image.
        argv.extend(words(&["-f", "raw", "-O", format]));
        argv.extend(options.iter().flat_map(|options| words(&["-o", options])));
        let (from, to) = (path_of(image), artifact.open_path());
        argv.extend([&from, &to].map(|path| path.display().to_string()));
        let names = [(to.as_path(), &*artifact.final_path()), (&from, Path::new("image.raw"))];
        self.run_tool(&HostTool { argv, ..HostTool::default() }, &names)
    }

    /// The image that becomes disk outputs: the first one of the layout.
    fn main_image(&self) -> Result<File> {
        let disk = self.plan.disk.as_ref().context("a disk output without a disk in the plan")?;
        let Some(image) = disk.layout.images.first() else { bail!("a disk layout without an image") };
        self.machine().image(&image.name)
    }
}
