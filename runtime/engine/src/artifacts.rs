//! The outputs: each is written to a nameless file, checked, and named when all of a build's outputs are whole.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use dibw_image::checksum::{self, Algorithms, Sums};
use dibw_image::compress::{Gzip, Zstd};
use dibw_image::qcow2::Qcow2Options;
use dibw_image::tar_stream::{TarOptions, write_tree};
use dibw_plan::{Checksum, OutputType};
use dibw_sys::artifact::{Artifact, Existing, commit_all};

use crate::events::Event;
use crate::failure::Failure;
use crate::run::Build;
use crate::scripts::Lines;

/// An output that is whole but has no name yet.
pub(crate) struct Pending {
    path: PathBuf,
    artifact: Artifact,
    sums: Option<Sums>,
}

impl Build<'_> {
    /// Writes one output.
    pub(crate) fn output(&mut self, kind: OutputType) -> Result<(), Failure> {
        let path = PathBuf::from(format!("{}.{}", self.plan.output, kind.name()));
        let pending = self.write_output(kind, &path).with_context(|| format!("writing {}", path.display()));
        self.pending.push(pending.map_err(|error| Failure::of_output(error, &path))?);
        Ok(())
    }

    fn write_output(&self, kind: OutputType, path: &Path) -> Result<Pending> {
        let artifact = self.create(path)?;
        self.fill(kind, artifact.file())?;
        let algorithms = match self.plan.checksums.contains(&Checksum::Md5) {
            true => Algorithms::Sha256AndMd5,
            false => Algorithms::Sha256,
        };
        let sums = checksum::of_file_while(artifact.file(), algorithms, &mut || self.go_on())?;
        Ok(Pending { path: path.into(), artifact, sums: Some(sums) })
    }

    /// Starts an output, which the journal knows before it has any name.
    fn create(&self, path: &Path) -> Result<Artifact> {
        let artifact = Artifact::create(path)?;
        self.give_away(artifact.file()).with_context(|| format!("owner of {}", path.display()))?;
        self.machine().note_passing_file(&self.start_dir.join(artifact.passing_path()))?;
        Ok(artifact)
    }

    /// Outputs take long: an error once the build was told to stop.
    fn go_on(&self) -> Result<()> {
        match self.machine().interrupted() {
            true => bail!("interrupted"),
            false => Ok(()),
        }
    }

    fn fill(&self, kind: OutputType, out: &File) -> Result<()> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        match kind {
            OutputType::Raw => {
                let image = self.main_image()?;
                let length = image.metadata()?.len();
                dibw_image::sparse::copy_sparse_while(&image, out, length, &mut || self.go_on())?;
            }
            OutputType::Qcow2 => {
                let options = Qcow2Options { threads, ..Qcow2Options::default() };
                let image = self.main_image()?;
                dibw_image::qcow2::write_while(&image, &mut out.try_clone()?, &options, &mut || {
                    self.go_on()
                })?;
            }
            OutputType::Tar => {
                let mut out = BufWriter::with_capacity(1 << 20, out);
                self.write_tar(&mut out)?;
                out.flush()?;
            }
            OutputType::Tgz => {
                let mut out = Gzip::new(BufWriter::with_capacity(1 << 20, out), 6, threads)?;
                self.write_tar(&mut out)?;
                out.finish()?.flush()?;
            }
            OutputType::TarZst => {
                let mut out = Zstd::new(BufWriter::with_capacity(1 << 20, out), 3, threads)?;
                self.write_tar(&mut out)?;
                out.finish()?.flush()?;
            }
        }
        Ok(())
    }

    fn write_tar(&self, out: &mut dyn Write) -> Result<()> {
        let target = self.machine().target()?;
        let mut out = Stoppable { out, go_on: &|| self.go_on() };
        let root = File::open(&target).with_context(|| format!("opening {}", target.display()))?;
        // What is mounted or made there while building is not the image's.
        let emptied = ["proc", "sys", "dev", "run"].map(Into::into).into();
        write_tree(&root, &mut out, &TarOptions { emptied, latest_mtime: None }).map(drop)
    }

    /// The image that becomes disk outputs: the first one of the layout.
    fn main_image(&self) -> Result<File> {
        let disk = self.plan.disk.as_ref().context("a disk output without a disk in the plan")?;
        let image = disk.layout.images.first().context("a disk layout without an image")?;
        self.machine().image(&image.name)
    }

    /// Lists the target's packages, for the record.
    pub(crate) fn list_packages(&mut self) -> Result<(), Failure> {
        // A target without a distribution we know (a container's file system, a test's) has no list.
        let Ok(manager) = self.package_manager() else { return Ok(()) };
        let command = manager.list_installed();
        let list = self.run_package_command(manager, &command, Lines::keeping_stdout())?;
        self.package_list = Some(list);
        Ok(())
    }

    /// Names all outputs and writes what belongs beside them.
    pub(crate) fn finish_outputs(&mut self) -> Result<(), Failure> {
        let mut records = vec![
            ("plan.json", dibw_plan::render::to_json(self.plan)),
            ("audit.jsonl", self.audit.borrow().text().to_owned()),
        ];
        if let Some(list) = self.package_list.take() {
            records.push(("packages.json", packages_json(&list)));
        }
        for (suffix, text) in records {
            self.add_text(&PathBuf::from(format!("{}.{suffix}", self.plan.output)), &text)?;
        }
        let mut written = Vec::new();
        for index in 0..self.pending.len() {
            let Some(sums) = self.pending[index].sums.take() else { continue };
            let path = self.pending[index].path.clone();
            self.add_checksums(&path, &sums)?;
            written.push(Event::Artifact { path, bytes: sums.bytes, sha256: sums.sha256 });
        }
        let existing = match self.plan.overwrite {
            true => Existing::Replace,
            false => Existing::Keep(std::time::SystemTime::now()),
        };
        let (paths, artifacts): (Vec<PathBuf>, Vec<Artifact>) = std::mem::take(&mut self.pending)
            .into_iter()
            .map(|pending| (pending.path, pending.artifact))
            .unzip();
        commit_all(artifacts, existing)
            .map_err(|error| Failure::of_output(error, Path::new(&self.plan.output)))?;
        self.artifacts.files = paths;
        self.collect_beside()?;
        written.into_iter().for_each(|event| self.tell(event));
        Ok(())
    }

    fn add_checksums(&mut self, path: &Path, sums: &Sums) -> Result<(), Failure> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        self.add_text(&with_suffix(path, "sha256"), &checksum::line(&sums.sha256, &name))?;
        match &sums.md5 {
            Some(md5) => self.add_text(&with_suffix(path, "md5"), &checksum::line(md5, &name)),
            None => Ok(()),
        }
    }

    fn add_text(&mut self, path: &Path, text: &str) -> Result<(), Failure> {
        let write = || {
            let artifact = self.create(path)?;
            artifact
                .file()
                .write_all(text.as_bytes())
                .with_context(|| format!("writing {}", path.display()))?;
            Ok(artifact)
        };
        let artifact = write().map_err(|error| Failure::of_output(error, path))?;
        self.pending.push(Pending { path: path.into(), artifact, sums: None });
        Ok(())
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

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}.{suffix}", path.display()))
}

/// `name<TAB>version<TAB>architecture` lines as a JSON list.
fn packages_json(list: &str) -> String {
    let packages: Vec<_> = list
        .lines()
        .filter_map(|line| {
            let mut fields = line.split('\t');
            let mut field = || fields.next().unwrap_or_default();
            let (name, version, architecture) = (field(), field(), field());
            (!name.is_empty()).then(
                || serde_json::json!({ "name": name, "version": version, "architecture": architecture }),
            )
        })
        .collect();
    let mut text = serde_json::to_string_pretty(&packages).expect("a JSON value can be written");
    text.push('\n');
    text
}
