//! The outputs: each is written to a nameless file, checked, and named when all of a build's outputs are whole.

mod container;
mod disks;
mod formats;
mod tool;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use dibw_image::checksum::{self, Algorithms, Sums};
use dibw_plan::{Checksum, OutputType};
use dibw_sys::artifact::{Artifact, Existing, commit_all};

pub(crate) use self::container::PUSHERS;
use crate::events::{Event, Level};
use crate::failure::Failure;
use crate::report::data::PackageRecord;
use crate::run::Build;
use crate::scripts::Lines;

/// An output that is whole but has no name yet.
pub(crate) struct Pending {
    path: PathBuf,
    artifact: Artifact,
    /// What it is; none for what only goes with an output.
    kind: Option<OutputType>,
    /// Its digests, where they were taken.
    sums: Option<Sums>,
    /// Whether a file of that name is replaced, whatever was asked for.
    replaces: bool,
}

impl Pending {
    /// What it is; none for what only goes with an output.
    pub(crate) fn kind(&self) -> Option<OutputType> {
        self.kind
    }

    /// Its digests, where they were taken.
    pub(crate) fn sums(&self) -> Option<&Sums> {
        self.sums.as_ref()
    }

    /// Notes them.
    pub(crate) fn note_sums(&mut self, sums: Sums) {
        self.sums = Some(sums);
    }

    /// Its bytes.
    pub(crate) fn file(&self) -> &File {
        self.artifact.file()
    }
}

impl Build<'_> {
    /// Writes one output.
    pub(crate) fn output(&mut self, kind: OutputType) -> Result<(), Failure> {
        if self.pending.iter().any(|pending| pending.kind == Some(kind)) {
            self.message(Level::Info, "", "written already, in one pass with the one before");
            return Ok(());
        }
        let path = self.output_path(kind);
        let written = self.write_output(kind).with_context(|| format!("writing {}", path.display()));
        self.pending.extend(written.map_err(|error| Failure::of_output(error, &path))?);
        Ok(())
    }

    /// Writes one output, and with it the one that takes the same pass over the image.
    fn write_output(&self, kind: OutputType) -> Result<Vec<Pending>> {
        let mut outputs = vec![self.begin_output(kind)?];
        if let Some(companion) = self.companion(kind) {
            outputs.push(self.begin_output(companion)?);
        }
        self.fill(kind, &mut outputs)?;
        for output in outputs.iter_mut().filter(|output| output.sums.is_none()) {
            output.sums = self.digests_of(output.artifact.file())?;
        }
        Ok(outputs)
    }

    pub(crate) fn begin_output(&self, kind: OutputType) -> Result<Pending> {
        let path = self.output_path(kind);
        let artifact = self.create(&path)?;
        let replaces = self.plan.classic && kind.replaces_classically();
        Ok(Pending { path, artifact, kind: Some(kind), sums: None, replaces })
    }

    pub(crate) fn output_path(&self, kind: OutputType) -> PathBuf {
        PathBuf::from(format!("{}.{}", self.plan.output, kind.suffix()))
    }

    /// The digests that are wanted of every output.
    fn algorithms(&self) -> Option<Algorithms> {
        let wanted = |checksum| self.plan.checksums.contains(&checksum);
        match (wanted(Checksum::Md5), wanted(Checksum::Sha256)) {
            // diskimage-builder's commands take digests only when asked to.
            (false, false) if self.plan.classic => None,
            (true, _) => Some(Algorithms::Sha256AndMd5),
            (false, _) => Some(Algorithms::Sha256),
        }
    }

    /// For files that are not written from the first byte to the last, whose digests can't be taken on the way.
    fn digests_of(&self, file: &File) -> Result<Option<Sums>> {
        let taken = self.algorithms().map(|which| checksum::of_file_while(file, which, &mut || self.go_on()));
        taken.transpose()
    }

    /// Starts an output, which the journal knows before it has any name.
    pub(crate) fn create(&self, path: &Path) -> Result<Artifact> {
        let artifact = Artifact::create(path)?;
        self.give_away(artifact.file()).with_context(|| format!("owner of {}", path.display()))?;
        self.machine().note_passing_file(&self.start_dir.join(artifact.passing_path()))?;
        Ok(artifact)
    }

    /// Outputs take long: an error once the build was told to stop.
    pub(crate) fn go_on(&self) -> Result<()> {
        match self.machine().interrupted() {
            true => bail!("interrupted"),
            false => Ok(()),
        }
    }

    /// Lists the target's packages and sums up its bytes, for the record.
    pub(crate) fn list_packages(&mut self) -> Result<(), Failure> {
        self.measure()?;
        // A target without a distribution we know (a container's file system, a test's) has no list.
        let Ok(manager) = self.package_manager() else { return Ok(()) };
        let command = manager.list_installed();
        let list = self.run_package_command(manager, &command, Lines::keeping_stdout())?;
        self.package_list = Some(list);
        Ok(())
    }

    /// Names all outputs and writes what belongs beside them.
    pub(crate) fn finish_outputs(&mut self) -> Result<(), Failure> {
        let outputs = self.pending.len();
        self.keep_outputs();
        self.collect_beside()?;
        self.add_records()?;
        for index in 0..outputs {
            self.add_checksums(index)?;
        }
        let written = self.pending.iter().filter_map(facts).collect::<Vec<_>>();
        let pending = std::mem::take(&mut self.pending);
        self.artifacts.files = pending.iter().map(|pending| pending.path.clone()).collect();
        let now = SystemTime::now();
        let existing = |pending: &Pending| match self.plan.overwrite || pending.replaces {
            true => Existing::Replace,
            false => Existing::Keep(now),
        };
        let artifacts = pending.into_iter().map(|pending| {
            let existing = existing(&pending);
            (pending.artifact, existing)
        });
        commit_all(artifacts.collect())
            .map_err(|error| Failure::of_output(error, Path::new(&self.plan.output)))?;
        for (path, bytes, sha256) in written {
            self.tell(Event::Artifact { path, bytes, sha256 });
        }
        self.publish()
    }

    /// The plan, the audit log, the list of packages and the report: beside the outputs or, for diskimage-builder's commands, in the directory
    /// that its element `manifests` makes, if it did.
    fn add_records(&mut self) -> Result<(), Failure> {
        let directory = PathBuf::from(format!("{}.d", self.plan.output));
        if self.plan.classic && !directory.is_dir() {
            return Ok(());
        }
        self.audit.borrow_mut().end()?;
        let audit = self.audit.borrow().text().to_owned();
        let packages = self.package_list.take().map(|list| packages(&list));
        let outputs = self.pending.iter().filter_map(facts).collect();
        let report = self.report(outputs, packages.clone().unwrap_or_default(), &audit);
        let mut records = vec![("plan.json", dibw_plan::render::to_json(self.plan)), ("audit.jsonl", audit)];
        records.extend(packages.map(|packages| ("packages.json", packages_json(&packages))));
        records.push(("report.html", report));
        for (name, text) in records {
            let path = match self.plan.classic {
                true => directory.join(name),
                false => PathBuf::from(format!("{}.{name}", self.plan.output)),
            };
            self.add_text(&path, &text, self.plan.classic)?;
        }
        Ok(())
    }

    fn add_checksums(&mut self, index: usize) -> Result<(), Failure> {
        let Pending { path, sums: Some(sums), replaces, .. } = &self.pending[index] else { return Ok(()) };
        let (path, replaces) = (path.clone(), *replaces);
        // diskimage-builder's commands name the file as it was named to them.
        let name = match self.plan.classic {
            true => path.as_os_str(),
            false => path.file_name().unwrap_or(path.as_os_str()),
        };
        let name = name.to_string_lossy();
        let texts = [
            (Checksum::Sha256, "sha256", Some(checksum::line(&sums.sha256, &name))),
            (Checksum::Md5, "md5", sums.md5.as_ref().map(|md5| checksum::line(md5, &name))),
        ];
        for (checksum, suffix, text) in texts {
            if let Some(text) = text.filter(|_| self.plan.checksums.contains(&checksum)) {
                self.add_text(&with_suffix(&path, suffix), &text, replaces)?;
            }
        }
        Ok(())
    }

    fn add_text(&mut self, path: &Path, text: &str, replaces: bool) -> Result<(), Failure> {
        let write = || {
            let artifact = self.create(path)?;
            artifact
                .file()
                .write_all(text.as_bytes())
                .with_context(|| format!("writing {}", path.display()))?;
            Ok(artifact)
        };
        let artifact = write().map_err(|error| Failure::of_output(error, path))?;
        self.pending.push(Pending { path: path.into(), artifact, kind: None, sums: None, replaces });
        Ok(())
    }
}

/// What is told of an output: its path, its length, its SHA-256.
fn facts(pending: &Pending) -> Option<(PathBuf, u64, Option<String>)> {
    pending.kind?;
    // A file that we have open has attributes.
    let bytes = pending.artifact.file().metadata().map_or(0, |attributes| attributes.len());
    Some((pending.path.clone(), bytes, pending.sums.as_ref().map(|sums| sums.sha256.clone())))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}.{suffix}", path.display()))
}

/// `name<TAB>version<TAB>architecture` lines as packages.
fn packages(list: &str) -> Vec<PackageRecord> {
    let packages = list.lines().map(|line| {
        let mut fields = line.split('\t').map(str::to_owned);
        let mut field = || fields.next().unwrap_or_default();
        PackageRecord { name: field(), version: field(), architecture: field() }
    });
    packages.filter(|package| !package.name.is_empty()).collect()
}

fn packages_json(packages: &[PackageRecord]) -> String {
    let mut text = serde_json::to_string_pretty(packages).expect("a list of texts can be written");
    text.push('\n');
    text
}
