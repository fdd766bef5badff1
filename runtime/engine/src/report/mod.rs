//! The report of a build, `NAME.report.html`: what the steps took and what the cache said of them, where the bytes of the image are, packages,
//! capabilities, warnings. Callers: the steps that have the target at hand, and the artifacts, which it lies beside.
//!
//! A report is never worth a build: what can't be found out is a warning, and missing in it.

mod bytes;
mod capabilities;
pub mod data;
mod dpkg;
mod html;
mod origin;
mod page;
mod path_map;
mod recorder;
mod timeline;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::SystemTime;

use anyhow::Result;
use dibw_plan::packages::{Intent, PackageRequest, resolve_transaction};
use dibw_plan::{Action, Plan};
use dibw_sys::calendar::Moment;

use self::bytes::{Elements, StepFor};
use self::data::{ArtifactRecord, Bytes, PackageRecord};
pub use self::data::{Report, StepRecord, saved};
use self::dpkg::Packages;
use self::origin::Origin;
pub use self::recorder::{Kept, Recorder};
use crate::events::Level;
use crate::failure::Failure;
use crate::run::Build;
use crate::target::TargetFiles;

/// What a step that is no element's is said to be for.
const RUNTIME: &str = "(dibw itself)";

/// Most packages that are listed.
const MOST_PACKAGES: usize = 5000;

/// For whom packages are that were asked for with `-p`.
const COMMAND_LINE: &str = "(the command line)";

/// What is found out for the report while a build runs.
pub(crate) struct Findings {
    recorder: Rc<Recorder>,
    began: SystemTime,
    origin: Option<Origin>,
    /// May be recalled with outputs of an earlier build, which need no disk to be made.
    pub(crate) bytes: Option<Bytes>,
}

impl Findings {
    pub(crate) fn new(recorder: Rc<Recorder>) -> Self {
        Self { recorder, began: SystemTime::now(), origin: None, bytes: None }
    }
}

impl Build<'_> {
    /// Remembers which step wrote what. Called before the layers are given up.
    pub(crate) fn note_origin(&mut self) {
        let layers = self.machine().layers();
        match Origin::of_layers(&layers, &mut || self.go_on()) {
            Ok(origin) => self.findings.origin = Some(origin),
            Err(error) => self.not_reported("which step wrote which file", &error),
        }
    }

    /// Finds out where the bytes of the image are. Called when nothing changes them any more, and they are still mounted.
    ///
    /// # Errors
    /// When there is no target to look at.
    pub(crate) fn measure(&mut self) -> Result<(), Failure> {
        if self.findings.origin.is_none() {
            self.note_origin();
        }
        let target = self.target()?;
        let packages = Packages::read(&TargetFiles::open(&target)?);
        let elements =
            Elements { of_steps: self.steps_for(), of_packages: packages.wished_by(&self.wishes()) };
        let origin = self.findings.origin.take().unwrap_or_default();
        let places = self.file_systems(target);
        match bytes::sum(&places, &packages, &origin, &elements, &mut || self.go_on()) {
            Ok(bytes) => self.findings.bytes = Some(bytes),
            Err(error) => self.not_reported("where the bytes of the image are", &error),
        }
        Ok(())
    }

    fn not_reported(&self, what: &str, error: &anyhow::Error) {
        self.message(Level::Warn, "", format!("the report does not say {what}: {error:#}"));
    }

    /// The file systems of the image, the root file system first: mount points, and where they are mounted now. Without a disk that is the
    /// target.
    fn file_systems(&self, target: PathBuf) -> Vec<(String, PathBuf)> {
        let mounts = self.plan.disk.iter().flat_map(|disk| &disk.layout.mounts);
        let at = |mount_point: &str| self.machine().mounted_at(mount_point);
        let mounted = mounts.filter_map(|mount| Some((mount.mount_point.clone(), at(&mount.mount_point)?)));
        let mut places: BTreeMap<String, PathBuf> = mounted.collect();
        places.entry("/".to_owned()).or_insert(target);
        places.into_iter().collect()
    }

    /// For whom the steps until now were done, by number.
    fn steps_for(&self) -> BTreeMap<usize, StepFor> {
        let transactions =
            self.plan.steps.iter().filter(|step| matches!(step.action, Action::Packages { .. }));
        let transactions: BTreeSet<String> = transactions.map(dibw_plan::render::title).collect();
        let for_whom = |step: &StepRecord| match step.element.as_str() {
            "" if transactions.contains(&step.title) => StepFor::Packages,
            "" => StepFor::Element(RUNTIME.to_owned()),
            element => StepFor::Element(element.to_owned()),
        };
        self.findings.recorder.kept().steps.iter().map(|step| (step.number, for_whom(step))).collect()
    }

    /// Packages by their names in the target, and who asked for them.
    fn wishes(&self) -> Vec<(String, String)> {
        let (maps, variables) = (self.plan.package_maps(), self.variables_of_target());
        let of = |request: &PackageRequest| {
            // What can't be mapped has failed the build where it was asked for.
            let names = resolve_transaction(std::slice::from_ref(request), &maps, variables);
            let element = request.element.clone().unwrap_or_else(|| COMMAND_LINE.to_owned());
            names
                .map(|names| names.install)
                .unwrap_or_default()
                .into_iter()
                .map(move |name| (name, element.clone()))
        };
        let planned = self.plan.steps.iter().flat_map(|step| match &step.action {
            Action::Packages { requests } => requests.as_slice(),
            _ => &[],
        });
        planned.filter(|request| request.intent == Intent::Install).flat_map(of).collect()
    }

    /// The page. `artifacts` are path, length and SHA-256 of the outputs; `audit` the whole log.
    pub(crate) fn report(
        &self,
        artifacts: Vec<(PathBuf, u64, Option<String>)>,
        packages: Vec<PackageRecord>,
        audit: &str,
    ) -> String {
        let Kept { steps, warnings, more_warnings, .. } = self.findings.recorder.kept();
        let Moment { year, month, day, hour, minute, second } = Moment::at(self.findings.began);
        let plan: &Plan = self.plan;
        let report = Report {
            version: data::VERSION,
            dibw: env!("CARGO_PKG_VERSION").to_owned(),
            name: file_name(Path::new(&plan.output)),
            plan: dibw_plan::digest::digest(plan),
            arch: plan.arch.clone(),
            elements: plan.elements.iter().map(|element| element.name.clone()).collect(),
            began: format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"),
            took: self.findings.recorder.elapsed(),
            steps,
            artifacts: artifacts
                .into_iter()
                .map(|(path, bytes, sha256)| ArtifactRecord { name: file_name(&path), bytes, sha256 })
                .collect(),
            bytes: self.findings.bytes.clone(),
            more_packages: packages.len().saturating_sub(MOST_PACKAGES),
            packages: packages.into_iter().take(MOST_PACKAGES).map(shortened).collect(),
            capabilities: capabilities::of_log(audit),
            warnings,
            more_warnings,
        };
        page::page(&report)
    }
}

fn shortened(package: PackageRecord) -> PackageRecord {
    PackageRecord {
        architecture: tree::shown(package.architecture.as_bytes()),
        name: tree::shown(package.name.as_bytes()),
        version: tree::shown(package.version.as_bytes()),
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
