//! Outputs of earlier builds: when every step before the disk has its layer, and nothing that makes disk and outputs has changed, they are
//! copied from the cache, the same to the byte. Called by [`crate::run`] and [`crate::artifacts`].

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use dibw_image::checksum::{Algorithms, Sums};
use dibw_image::sparse::copy_sparse_while;
use dibw_plan::{Action, Checksum, OutputType, Phase, Step};
use serde::{Deserialize, Serialize};

use super::KeptRecord;
use super::inputs::Inputs;
use super::store::{self, Entry, Held};
use crate::artifacts::Pending;
use crate::events::{Cached, Event, Level};
use crate::failure::Failure;
use crate::report::data::Bytes;
use crate::run::Build;

/// What the steps from the disk on are called together.
pub(super) const TITLE: &str = "outputs";

/// The steps from the disk on, while they run.
pub(crate) struct Tail {
    key: String,
    network: bool,
    began: Instant,
    reason: String,
}

/// What is kept of them beside the files.
#[derive(Serialize, Deserialize)]
struct Left {
    /// SHA-256 of each file, by name.
    digests: BTreeMap<String, String>,
    outputs: Vec<OutputType>,
    package_list: Option<String>,
    /// Where the bytes of the image are.
    bytes: Option<Bytes>,
    records: Vec<KeptRecord>,
    warnings: Vec<(String, String)>,
}

impl Build<'_> {
    /// Whether `rest`, the steps from the disk on, need not be done: their outputs are in place then.
    pub(crate) fn recall_outputs(&mut self, rest: &[Step]) -> Result<bool, Failure> {
        self.audit.borrow_mut().take_recent();
        self.warnings.take();
        let Some(inputs) = self.output_inputs(rest)? else { return Ok(false) };
        let key = inputs.key();
        let found = self.look_up(TITLE, &inputs, &key)?;
        if self.only_looks() {
            let cached = match found {
                Ok(held) => Cached::Hit { saved: Duration::from_secs_f64(held.entry.took.max(0.0)) },
                Err(reason) => Cached::Miss { reason },
            };
            self.stopped = true;
            let Some(layers) = &mut self.layers else { return Ok(true) };
            layers.note(TITLE, cached, inputs);
            return Ok(true);
        }
        let network = rest.iter().any(|step| !step.extras.is_empty());
        let reason = match found {
            Ok(held) => {
                if let Some(left) = self.bring_outputs(&held)? {
                    self.say_reused(rest, &held, left, inputs)?;
                    return Ok(true);
                }
                self.drop_outputs(held)?;
                "its files were damaged".to_owned()
            }
            Err(reason) => reason,
        };
        let Some(layers) = &mut self.layers else { return Ok(false) };
        layers.note(TITLE, Cached::Miss { reason: reason.clone() }, inputs);
        layers.tail = Some(Tail { key, network: network || layers.network, began: Instant::now(), reason });
        Ok(false)
    }

    /// What disk and outputs are made from; none when they are not to be kept.
    fn output_inputs(&mut self, rest: &[Step]) -> Result<Option<Inputs>> {
        let plan = self.plan;
        let has_cleanup = rest.iter().any(|step| {
            step.phase == Some(Phase::Cleanup) && !matches!(step.action, Action::Environment { .. })
        });
        let added =
            crate::hooks_tree::names(&self.hooks.join("cleanup.d")).is_ok_and(|names| !names.is_empty());
        let elsewhere = plan.ramdisk || plan.push.is_some() || has_cleanup || added;
        let Some(layers) = self.layers.as_ref().filter(|layers| layers.broken.is_none() && !elsewhere) else {
            return Ok(None);
        };
        let hooks = super::inputs::digest(format!("{:?}", layers.hooks).as_bytes());
        let mut inputs = Inputs::default();
        self.add_common(&mut inputs);
        inputs.add("hooks", hooks);
        let mut add = |name: &str, value: serde_json::Result<String>| -> Result<()> {
            inputs.add(name, value.context("a part of the plan")?);
            Ok(())
        };
        add("steps of disk and outputs", serde_json::to_string(rest))?;
        add("disk", serde_json::to_string(&plan.disk))?;
        add("size of the image", serde_json::to_string(&self.image_bytes))?;
        // The rest of the plan, without what has names of its own above.
        let formats = dibw_plan::Plan {
            steps: Vec::new(),
            elements: Vec::new(),
            variables: BTreeMap::new(),
            disk: None,
            rules: dibw_plan::rules::Rules::default(),
            output: String::new(),
            overwrite: false,
            offline: false,
            refresh: false,
            ..plan.clone()
        };
        add("formats", serde_json::to_string(&formats))?;
        self.add_variables(&mut inputs, self.base_variables.clone());
        self.add_offers(&mut inputs);
        for step in rest.iter().filter(|step| step.action == Action::Hook) {
            self.add_component(&mut inputs, step.element.as_deref());
        }
        for tool in dibw_plan::tools::required_tools(plan) {
            self.add_program(&mut inputs, &tool.program);
        }
        let name = Path::new(&plan.output).file_name().unwrap_or_default();
        inputs.add("name of the image", name.to_string_lossy());
        Ok(Some(inputs))
    }

    /// Copies the kept files to where the outputs go; none when they are not what was kept.
    fn bring_outputs(&mut self, held: &Held) -> Result<Option<Left>, Failure> {
        let Ok(left) = serde_json::from_value::<Left>(held.entry.left.clone()) else { return Ok(None) };
        let mut pending = Vec::new();
        for kind in &left.outputs {
            let path = self.output_path(*kind);
            let brought =
                self.bring_output(*kind, held).with_context(|| format!("writing {}", path.display()));
            let output = brought.map_err(|error| Failure::of_output(error, &path))?;
            let digest = left.digests.get(kind.suffix());
            if output.sums().map(|sums| &sums.sha256) != digest {
                return Ok(None);
            }
            pending.push(output);
        }
        self.pending.extend(pending);
        Ok(Some(left))
    }

    fn bring_output(&self, kind: OutputType, held: &Held) -> Result<Pending> {
        let mut output = self.begin_output(kind)?;
        let from = File::open(held.file(kind.suffix()))?;
        let which = match self.plan.checksums.contains(&Checksum::Md5) {
            true => Algorithms::Sha256AndMd5,
            false => Algorithms::Sha256,
        };
        let length = from.metadata()?.len();
        let sums = copy_sparse_while(&from, output.file(), length, Some(which), &mut || self.go_on())?;
        sums.into_iter().for_each(|sums| output.note_sums(sums));
        Ok(output)
    }

    /// Tells of the steps that were not needed, and records what they did.
    fn say_reused(&mut self, rest: &[Step], held: &Held, left: Left, inputs: Inputs) -> Result<(), Failure> {
        self.package_list = left.package_list;
        self.findings.bytes = left.bytes;
        for record in left.records {
            self.audit.borrow_mut().add(&record.into())?;
        }
        for (element, text) in left.warnings {
            self.message(Level::Warn, &element, text);
        }
        self.record_reuse(TITLE, &held.entry)?;
        let mut saved = Duration::from_secs_f64(held.entry.took.max(0.0));
        for step in rest {
            self.tell_step(step);
            // What all of them took is said once.
            let cache = Cached::Hit { saved: std::mem::take(&mut saved) };
            self.tell(Event::StepDone { number: self.done, took: Duration::ZERO, cache });
        }
        let Some(layers) = &mut self.layers else { return Ok(()) };
        layers.store.touch(held);
        let cached = Cached::Hit { saved: Duration::from_secs_f64(held.entry.took.max(0.0)) };
        layers.note(TITLE, cached, inputs);
        Ok(())
    }

    fn drop_outputs(&mut self, held: Held) -> Result<()> {
        self.layers.as_ref().map_or(Ok(()), |layers| layers.store.drop_damaged(held))
    }

    /// Why the outputs are made; none when the cache says nothing of them.
    pub(crate) fn tail_cached(&self) -> Cached {
        let tail = self.layers.as_ref().and_then(|layers| layers.tail.as_ref());
        tail.map_or(Cached::No, |tail| Cached::Miss { reason: tail.reason.clone() })
    }

    /// Keeps the outputs, which are whole but have no names yet. That they can't be kept changes nothing about the build.
    pub(crate) fn keep_outputs(&mut self) {
        let kept = self.keep_files();
        if let Err(error) = kept {
            self.message(Level::Warn, "", format!("the outputs are not kept: {error:#}"));
        }
    }

    fn keep_files(&mut self) -> Result<()> {
        let secret = self.secrets_in_target.get();
        let beside = self.beside_artifacts().map(|directory| self.machine().captured(&directory));
        let beside =
            beside.is_some_and(|path| crate::hooks_tree::names(&path).is_ok_and(|names| !names.is_empty()));
        let Some(layers) = &mut self.layers else { return Ok(()) };
        let Some(tail) = layers.tail.take().filter(|_| !secret && !beside) else { return Ok(()) };
        let new = layers.store.begin()?;
        let files = new.directory.join("files");
        std::fs::create_dir(&files).with_context(|| files.display().to_string())?;
        let mut left = Left {
            digests: BTreeMap::new(),
            outputs: Vec::new(),
            package_list: self.package_list.clone(),
            bytes: self.findings.bytes.clone(),
            records: self.audit.borrow_mut().take_recent().into_iter().map(KeptRecord::from).collect(),
            warnings: self.warnings.take(),
        };
        let mut bytes = 0;
        for pending in &self.pending {
            let Some(kind) = pending.kind() else { continue };
            let to = files.join(kind.suffix());
            let (size, sums) = self.keep_file(pending, &to).with_context(|| to.display().to_string())?;
            bytes += size;
            left.digests.insert(kind.suffix().to_owned(), sums.sha256);
            left.outputs.push(kind);
        }
        let took = tail.began.elapsed().as_secs_f64();
        let entry = Entry {
            id: new.id.clone(),
            key: tail.key,
            loose_key: None,
            title: TITLE.to_owned(),
            image: self.start_dir.join(&self.plan.output).display().to_string(),
            created: store::now(),
            took,
            network: tail.network,
            tree: None,
            bytes,
            left: serde_json::to_value(left).context("what outputs left")?,
        };
        let Some(layers) = &mut self.layers else { return Ok(()) };
        if let Some(step) = layers.now.steps.iter_mut().rfind(|step| step.title == TITLE) {
            step.took = took;
        }
        layers.store.commit(&new, &entry)
    }

    /// Copies an output to `to`; gives what it takes there, and its digest.
    fn keep_file(&self, pending: &Pending, to: &Path) -> Result<(u64, Sums)> {
        use std::os::unix::fs::MetadataExt;
        let file = File::create_new(to)?;
        let from = pending.file();
        let which = pending.sums().is_none().then_some(Algorithms::Sha256);
        let length = from.metadata()?.len();
        let taken = copy_sparse_while(from, &file, length, which, &mut || self.go_on())?;
        let sums = taken.as_ref().or(pending.sums()).context("no digest was taken")?.clone();
        Ok((file.metadata()?.blocks() * 512, sums))
    }
}
