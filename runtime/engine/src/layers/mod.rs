//! The layer cache as a build uses it: which steps have layers, what each is made from, and what a step leaves beside the target.
//! Where layers are kept is [`store`]'s, what a key is [`inputs`]'. Called by [`crate::run`].
//!
//! Keys are chained: what a step's layer is made from includes the very layers below it, by their ids, so that a layer is never put on
//! others than it was made on. Hooks on the host always run (they may read anything), but for the root phase; what they left is digested,
//! and steps after them are found again when that is the same.

pub mod inputs;
mod kept;
mod keys;
mod last;
pub mod look;
pub mod outputs;
mod recall;
mod saver;
pub mod store;
pub mod upkeep;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use dibw_compat::environment::Variables;
use dibw_plan::{Action, Extra, Phase, Side, Step};
use dibw_sys::observed::Reads;
use dibw_sys::stored_tree;
use serde::{Deserialize, Serialize};

use self::inputs::Inputs;
use self::kept::KeptRecord;
pub(crate) use self::kept::{Noting, Warnings};
use self::keys::HooksChanges;
pub use self::last::{LastBuild, LastStep};
use self::recall::Fit;
use self::saver::Saver;
use self::store::{Entry, Held, Store};
use crate::events::{Cached, Level};
use crate::failure::Failure;
use crate::hooks_tree::Snapshot;
use crate::kernel_files::KernelSettings;
use crate::run::{Build, Paths};

/// How the cache is to be used.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it is.
    pub directory: PathBuf,
    /// Most bytes that it takes.
    pub limit: u64,
    /// How old a layer may be that was made from what the network gave.
    pub max_age: Duration,
}

/// The cache in one build.
pub(crate) struct Layers {
    pub(crate) store: Store,
    settings: Settings,
    /// Stands for all steps so far.
    state: String,
    /// Why no further layer can be used or kept.
    broken: Option<String>,
    /// The first step that ran.
    first_run: Option<String>,
    /// Keeps what is in use.
    held: Vec<Held>,
    saver: Saver,
    /// Digests of the parts of the hooks tree that hooks in the target see.
    parts: BTreeMap<String, String>,
    /// The hooks tree as it was looked at last.
    hooks: Snapshot,
    last: LastBuild,
    now: LastBuild,
    /// Something came over the network unchecked in a step so far.
    network: bool,
    /// The steps from the disk on, while they run.
    tail: Option<outputs::Tail>,
}

/// How a step's layer is treated.
enum Kind {
    /// Found by what it is made from.
    Keyed {
        /// What it is made from comes over the network.
        network: bool,
    },
    /// It runs always, and what it leaves is digested.
    Always,
}

/// What a step leaves beside the target.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Left {
    base_variables: Variables,
    variables: Variables,
    index_updated: bool,
    index_of: Option<String>,
    /// What it added to the hooks tree, and what it removed there.
    hooks_brought: Snapshot,
    hooks_gone: Vec<PathBuf>,
    /// What a component's hook itself set.
    set: Variables,
    requested: BTreeSet<(Phase, String)>,
    rehearsed: BTreeSet<Phase>,
    kernel: BTreeMap<String, KernelSettings>,
    records: Vec<KeptRecord>,
    warnings: Vec<(String, String)>,
}

impl Layers {
    /// Opens the cache for a build of `image`.
    ///
    /// # Errors
    /// When it can't be made or read.
    pub fn open(settings: &Settings, image: PathBuf) -> Result<Self> {
        let store = Store::open(&settings.directory)?;
        let last: Option<LastBuild> = store.last_build(&image);
        Ok(Self {
            saver: Saver::start(store.clone())?,
            settings: settings.clone(),
            state: String::new(),
            broken: None,
            first_run: None,
            held: Vec::new(),
            parts: BTreeMap::new(),
            hooks: Snapshot::new(),
            last: last.unwrap_or_default(),
            now: LastBuild { image, ..LastBuild::default() },
            network: false,
            tail: None,
            store,
        })
    }

    fn advance(&mut self, by: &str) {
        self.state = inputs::digest(format!("{} {by}", self.state).as_bytes());
    }
}

impl Build<'_> {
    /// Opens the cache, unless this build is to go its own way: somebody looks into it, or tries hooks.
    pub(crate) fn open_layers(&mut self, paths: &Paths) -> Result<()> {
        let Some(settings) =
            paths.layers.as_ref().filter(|_| self.trials.is_none() && !self.has_break_points())
        else {
            return Ok(());
        };
        let image = self.start_dir.join(&self.plan.output);
        self.layers = Some(Layers::open(settings, image)?);
        Ok(())
    }

    /// Does one step, or puts the layer of an earlier build in its place.
    pub(crate) fn layered(&mut self, number: usize, step: &Step) -> Result<Cached, Failure> {
        let title = step_title(step);
        let Some(kind) = self.kind(step) else {
            if self.only_looks() {
                self.stopped = true;
                return Ok(Cached::No);
            }
            self.plain(number, step)?;
            return Ok(self.tail_cached());
        };
        let Kind::Keyed { network } = kind else {
            if self.only_looks() {
                self.stopped = true;
                return Ok(self.ran(&title, Inputs::default(), ALWAYS.to_owned()));
            }
            self.plain(number, step)?;
            let upper = self.end_layer()?;
            self.absorb(upper)?;
            return Ok(self.ran(&title, Inputs::default(), ALWAYS.to_owned()));
        };
        self.audit.borrow_mut().take_recent();
        self.warnings.take();
        let inputs = self.inputs(step)?;
        let key = inputs.key();
        let mut reason = match self.look_up(&title, &inputs, &key)? {
            Ok(held) => return self.put_in_place(&title, inputs, held, Fit::Exact),
            Err(reason) => reason,
        };
        if self.observes(step) {
            match self.look_up_by_reads(&inputs)? {
                Ok(held) => return self.put_in_place(&title, inputs, held, Fit::ByReads),
                Err(differs) => reason = differs.unwrap_or(reason),
            }
        }
        if self.only_looks() {
            self.stopped = true;
            return Ok(self.ran(&title, inputs, reason));
        }
        if step.action == Action::Hook {
            self.more_packages = false;
            self.machine().observe();
        }
        let before = self.runs_outside(step).then(|| self.marks()).transpose()?;
        let began = Instant::now();
        self.plain(number, step)?;
        let reads = self.machine().take_reads()?.filter(|reads| *reads != Reads::Everything);
        // More packages came in the same step: what that did to the machine's state is not in the layer alone.
        let reads = reads.filter(|_| !self.more_packages);
        let loose_key = reads.as_ref().map(|_| inputs.loose_key());
        let may_change_hooks = self.runs_outside(step) || step.action == Action::PrepareTarget;
        let took = began.elapsed();
        let kept =
            Kept { title: title.clone(), key, loose_key, reads, network, took, before, may_change_hooks };
        let not_kept = self.keep(kept)?;
        let cached = self.ran(&title, inputs, reason);
        if let Some(layers) = &mut self.layers {
            layers.note_not_kept(not_kept);
        }
        Ok(cached)
    }

    fn plain(&mut self, number: usize, step: &Step) -> Result<(), Failure> {
        self.components.begin();
        if crate::step_kinds::changes_target(&step.action) {
            let layer = format!("{number:03}-{}", dibw_plan::render::title(step));
            self.machine.borrow_mut().begin_layer(&layer)?;
        }
        self.step(step)
    }

    /// How the layer of a step is treated; none for a step without.
    fn kind(&self, step: &Step) -> Option<Kind> {
        self.layers.as_ref()?;
        if self.on_disk {
            return None;
        }
        let fetches = step.extras.contains(&Extra::Network) || step.extras.contains(&Extra::Proxy);
        match &step.action {
            Action::Script { .. } if step.phase.is_some_and(|phase| phase.side() == Side::Inside) => {
                Some(Kind::Keyed { network: fetches })
            }
            Action::Script { .. } if step.phase == Some(Phase::Root) => Some(Kind::Keyed { network: true }),
            Action::Script { .. } => Some(Kind::Always),
            Action::Packages { .. } => Some(Kind::Keyed { network: fetches }),
            Action::Hook => {
                let fetches = step.capabilities.iter().any(|capability| capability.starts_with("net."));
                Some(Kind::Keyed { network: fetches })
            }
            Action::Environment { .. }
            | Action::PrepareTarget
            | Action::InstallBin
            | Action::InstallStatic
            | Action::InstallServiceMap { .. }
            | Action::CleanTarget => Some(Kind::Keyed { network: false }),
            Action::ReportUsage { .. }
            | Action::CreateDisk
            | Action::FinishDisk
            | Action::PackageManifest
            | Action::Output { .. } => None,
        }
    }

    /// Notes that a step ran.
    fn ran(&mut self, title: &str, inputs: Inputs, reason: String) -> Cached {
        let Some(layers) = &mut self.layers else { return Cached::No };
        if inputs != Inputs::default() && layers.first_run.is_none() {
            layers.first_run = Some(title.to_owned());
        }
        let cached = Cached::Miss { reason };
        layers.note(title, cached.clone(), inputs);
        cached
    }

    /// Keeps what a step did, or digests it where it can't be kept, and says why.
    fn keep(&mut self, kept: Kept) -> Result<Option<String>, Failure> {
        let upper = self.end_layer()?;
        let after = kept.before.is_some().then(|| self.marks()).transpose()?;
        if kept.before != after {
            self.absorb(upper)?;
            return Ok(Some("it changed something beside the target".to_owned()));
        }
        let changes = match kept.may_change_hooks {
            true => self.hooks_changes()?,
            false => Some(HooksChanges::default()),
        };
        let Some(changes) = changes else {
            self.absorb(upper)?;
            return Ok(Some("it changed a file of the hooks that was there before".to_owned()));
        };
        if let Some(broken) = self.layers.as_ref().and_then(|layers| layers.broken.clone()) {
            return Ok(Some(broken));
        }
        let changed: Vec<PathBuf> = changes.brought.keys().cloned().collect();
        let left = self.left(changes)?;
        let hooks = self.hooks.clone();
        let image = self.start_dir.join(&self.plan.output).display().to_string();
        let Some(layers) = &mut self.layers else { return Ok(None) };
        layers.network |= kept.network;
        let new = match layers.store.begin() {
            Ok(new) => new,
            Err(error) => {
                layers.broken = Some(format!("layers can't be kept: {error:#}"));
                return Ok(layers.broken.clone());
            }
        };
        if !changed.is_empty() {
            crate::hooks_tree::copy_files(&hooks, &new.directory.join("hooks"), &changed)?;
        }
        layers.advance(&new.id);
        let entry = Entry {
            id: new.id.clone(),
            key: kept.key,
            loose_key: kept.loose_key,
            title: kept.title,
            image,
            created: store::now(),
            took: kept.took.as_secs_f64(),
            network: kept.network,
            tree: None,
            bytes: 0,
            left,
        };
        layers.saver.save(new, entry, upper, kept.reads);
        Ok(None)
    }

    /// Ends the layer of a step, unless it has none. After some steps no layer is kept any more.
    fn end_layer(&mut self) -> Result<Option<PathBuf>> {
        if self.secrets_in_target.get() {
            self.break_chain("an element wrote a secret into the target before");
        }
        if self.machine().has_hook_mounts() {
            self.break_chain("a hook left something mounted in the target before");
        }
        self.machine().end_layer()
    }

    /// Digests what a step left in the target and the hooks tree, for the keys of those after it.
    fn absorb(&mut self, upper: Option<PathBuf>) -> Result<(), Failure> {
        let layer = upper.map(|upper| stored_tree::digest(&upper)).transpose()?.unwrap_or_default();
        self.look_at_hooks()?;
        let Some(layers) = &mut self.layers else { return Ok(()) };
        // Programs of the phases are in the keys of their own steps.
        let parts = format!("{layer} {:?}", layers.parts);
        layers.advance(&parts);
        Ok(())
    }

    /// Keeps an entry from going away.
    fn hold(&mut self, held: Held) {
        if let Some(layers) = &mut self.layers {
            layers.held.push(held);
        }
    }

    fn break_chain(&mut self, reason: &str) {
        if let Some(layers) = &mut self.layers {
            layers.broken.get_or_insert(reason.to_owned());
        }
    }

    /// What the step that ran last left beside the target.
    fn left(&mut self, hooks: HooksChanges) -> Result<serde_json::Value> {
        let work = self.work_text();
        let left = Left {
            base_variables: moved(self.base_variables.clone(), &work, WORK),
            variables: moved(self.variables.clone(), &work, WORK),
            index_updated: self.index_updated,
            index_of: self.index_of.clone(),
            hooks_brought: hooks.brought,
            hooks_gone: hooks.gone,
            set: std::mem::take(&mut self.set_by_hook),
            requested: self.requested.clone(),
            rehearsed: self.rehearsed.clone(),
            kernel: self.kernel.borrow().clone(),
            records: self.audit.borrow_mut().take_recent().into_iter().map(KeptRecord::from).collect(),
            warnings: self.warnings.take(),
        };
        serde_json::to_value(left).context("what a step left")
    }

    /// Everything that keeps layers is done: the trees they are copied from may go.
    pub(crate) fn finish_layers(&mut self) {
        let Some(layers) = &mut self.layers else { return };
        let errors = layers.saver.finish();
        for error in errors {
            self.message(Level::Warn, "", format!("a layer is not kept: {error:#}"));
        }
    }

    /// Notes what the cache said in this build, and keeps the cache below its limit. Failures change nothing about the build.
    pub(crate) fn close_layers(&mut self) {
        self.finish_layers();
        let Some(layers) = &mut self.layers else { return };
        layers.held.clear();
        let mut now = std::mem::take(&mut layers.now);
        now.ended = store::now();
        // Steps that a failed build did not come to keep what was known of them.
        let unknown: Vec<LastStep> = layers
            .last
            .steps
            .drain(..)
            .filter(|old| now.steps.iter().all(|step| step.title != old.title))
            .collect();
        now.steps.extend(unknown);
        let done = layers
            .store
            .note_build(&now.image, &now)
            .and_then(|()| layers.store.prune(layers.settings.limit, None).map(drop));
        if let Err(error) = done {
            self.message(Level::Warn, "", format!("the layer cache: {error:#}"));
        }
    }
}

/// Why a step without a key ran.
const ALWAYS: &str = "hooks on the host always run";

/// A step that ran and whose layer is to be kept.
struct Kept {
    title: String,
    key: String,
    loose_key: Option<String>,
    reads: Option<Reads>,
    network: bool,
    took: Duration,
    /// What was beside the target before, for a step that could have changed it.
    before: Option<String>,
    may_change_hooks: bool,
}

/// Stands for the directory of a build, which has another name each time.
const WORK: &str = "\u{1}WORK\u{1}";

fn moved(mut variables: Variables, from: &str, to: &str) -> Variables {
    for value in variables.values_mut().filter(|value| value.contains(from)) {
        *value = value.replace(from, to);
    }
    variables
}

/// Phase and title.
pub(crate) fn step_title(step: &Step) -> String {
    let title = dibw_plan::render::title(step);
    match step.phase {
        // The user's own packages come in a transaction of their own.
        Some(phase) if step.order.is_empty() && matches!(step.action, Action::Packages { .. }) => {
            format!("{phase}: extra {title}")
        }
        Some(phase) if matches!(step.action, Action::Packages { .. }) => {
            format!("{phase}: {}-{title}", step.order)
        }
        Some(phase) => format!("{phase}: {title}"),
        None => title,
    }
}
