//! A build, from the plan to the artifacts, in story order. Everything taken from the machine is given back, whatever happens.

use std::cell::{Cell, RefCell, RefMut};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use dibw_host::LoadedElement;
use dibw_plan::{Action, FaultKind, Phase, Plan, Side, Step};
use dibw_policy::Record;

use crate::artifacts::Pending;
use crate::audit::Audit;
use crate::break_points::Moment;
use crate::components::Components;
use crate::events::{Event, Events, Level};
use crate::failure::Failure;
use crate::hooks_tree::Owners;
use crate::kernel_files::KernelSettings;
use crate::layers::look::Goal;
use crate::layers::{self, Layers, Noting, Warnings};
use crate::machine::{Full, Machine};
use crate::offers::Offers;
use crate::real::RealMachine;
use crate::redaction::{Redacted, Redactor};
use crate::report::{Findings, Recorder};
use crate::step_kinds::{is_of_outputs, place};
use crate::target::TargetFiles;
use crate::trials::Trials;
use dibw_compat::environment::Variables;

/// Where a build keeps things on this machine.
#[derive(Debug, Clone)]
pub struct Paths {
    /// Directory of the work directories of all builds.
    pub work_base: PathBuf,
    /// Downloads and compiled components.
    pub cache: PathBuf,
    /// Work in memory when there is enough.
    pub tmpfs: bool,
    /// Least memory of a machine that works in memory, in bytes; none means what an ordinary image needs.
    pub least_memory: Option<u64>,
    /// Downloads of hooks; none means in `cache`.
    pub image_cache: Option<PathBuf>,
    /// Locks that hooks of several builds share.
    pub lockfiles: Option<PathBuf>,
    /// Layers of earlier builds are used, and kept for later ones.
    pub layers: Option<layers::Settings>,
}

/// The one who builds.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    /// Variables of his that hooks see and no plan has.
    pub variables: Variables,
    /// Whose the artifacts are to be, user and group; none means root's.
    pub owner: Option<(u32, u32)>,
    /// What he offers to typed elements by name.
    pub offers: Offers,
    /// Hooks that are to be tried at one level after the other.
    pub trials: Option<Trials>,
}

/// What a build made.
#[derive(Debug, Default)]
pub struct Artifacts {
    /// In the order they were written.
    pub files: Vec<PathBuf>,
}

/// A build under way.
pub struct Build<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) machine: Rc<RefCell<dyn Machine>>,
    pub(crate) events: Rc<dyn Events>,
    pub(crate) audit: Rc<RefCell<Audit>>,
    /// Whose commands run now.
    pub(crate) current: Current,
    /// Hooks that are tried at one level after the other, and what was recorded of the current one.
    pub(crate) trials: Option<Trials>,
    pub(crate) tried: RefCell<Vec<Record>>,
    pub(crate) host: Arc<dibw_host::Host>,
    /// Components that no hook needed yet.
    pub(crate) components: Components,
    /// The merged hooks tree.
    pub(crate) hooks: PathBuf,
    /// What hooks in the target see of it, where layers are kept.
    pub(crate) hooks_in_target: PathBuf,
    /// Layers of earlier builds, where they are used.
    pub(crate) layers: Option<Layers>,
    /// Warnings of the current step.
    pub(crate) warnings: Rc<Warnings>,
    /// Variables that the component's hook set which ran last, and whether it had packages installed that were not foreseen.
    pub(crate) set_by_hook: Variables,
    pub(crate) more_packages: bool,
    /// The file systems of the image are the target.
    pub(crate) on_disk: bool,
    /// How far this goes.
    pub(crate) goal: Goal,
    /// It went so far.
    pub(crate) stopped: bool,
    /// Which element each file of the hooks tree came from.
    pub(crate) owners: Owners,
    /// What is offered to typed elements by name.
    pub(crate) offers: Rc<Offers>,
    pub(crate) redactor: Rc<Redactor>,
    pub(crate) secrets_in_target: Rc<Cell<bool>>,
    /// Where typed elements keep things from build to build.
    pub(crate) element_caches: PathBuf,
    /// What typed elements asked of the kernel, by element.
    pub(crate) kernel: Rc<RefCell<BTreeMap<String, KernelSettings>>>,
    pub(crate) image_cache: PathBuf,
    pub(crate) lockfiles: Option<PathBuf>,
    pub(crate) start_dir: PathBuf,
    /// Whose the artifacts are to be.
    pub(crate) owner: Option<(u32, u32)>,
    /// Variables before `environment.d`, with what typed hooks set.
    pub(crate) base_variables: Variables,
    /// Variables of the phase.
    pub(crate) variables: Variables,
    /// Variables of the last phase that knew the target's distribution.
    pub(crate) target_variables: Variables,
    /// Whose they are: hooks in the target or on the host.
    pub(crate) side: Side,
    /// Phases whose typed hooks were asked for their packages.
    pub(crate) rehearsed: BTreeSet<Phase>,
    /// Bytes of the image, once hooks were told of it.
    pub(crate) image_bytes: Option<u64>,
    /// Steps done, for numbering.
    pub(crate) done: usize,
    /// Components that hooks have needed.
    pub(crate) loaded: BTreeMap<String, Rc<LoadedElement>>,
    /// Packages that were part of a phase's transaction.
    pub(crate) requested: BTreeSet<(Phase, String)>,
    pub(crate) index_updated: bool,
    /// Stands for the sources that the index is of, where it is apt's.
    pub(crate) index_of: Option<String>,
    pub(crate) artifacts: Artifacts,
    pub(crate) pending: Vec<Pending>,
    /// Lines `name<TAB>version<TAB>architecture`.
    pub(crate) package_list: Option<String>,
    /// What the report will say.
    pub(crate) findings: Findings,
    began: Instant,
}

/// For whom a command runs, as records say it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Current {
    /// The element; empty for the runtime.
    pub element: String,
    /// The phase.
    pub phase: String,
    /// What confines it, and the rule that says so.
    pub rule: String,
}

/// Executes `plan` on this machine. The caller is in a mount and pid namespace of its own.
///
/// # Errors
/// The first thing that went wrong; nothing is left behind.
pub fn build(
    plan: &Plan,
    paths: &Paths,
    caller: &Caller,
    events: Rc<dyn Events>,
) -> Result<Artifacts, Failure> {
    let machine = RealMachine::new(paths, plan.classic, &plan.rules.resources)
        .context("preparing the work directory")?;
    build_on(plan, paths, caller, Rc::new(RefCell::new(machine)), events)
}

/// Executes `plan` on `machine`.
///
/// # Errors
/// The first thing that went wrong; what was taken from the machine has been given back.
pub fn build_on(
    plan: &Plan,
    paths: &Paths,
    caller: &Caller,
    machine: Rc<RefCell<dyn Machine>>,
    events: Rc<dyn Events>,
) -> Result<Artifacts, Failure> {
    on_machine(plan, paths, caller, machine, events, Build::run)
}

/// Has `work` done with a build of `plan` on `machine`; everything that was taken is given back then.
///
/// # Errors
/// The first thing that went wrong.
pub(crate) fn on_machine<'a, T>(
    plan: &'a Plan,
    paths: &Paths,
    caller: &Caller,
    machine: Rc<RefCell<dyn Machine>>,
    events: Rc<dyn Events>,
    work: impl FnOnce(Build<'a>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let redactor = Rc::new(Redactor::new(&caller.offers));
    let recorder = Rc::new(Recorder::new(events));
    let events: Rc<dyn Events> = Rc::new(Redacted { listener: recorder.clone(), redactor: redactor.clone() });
    let warnings: Rc<Warnings> = Rc::default();
    let events: Rc<dyn Events> = Rc::new(Noting { listener: events, warnings: warnings.clone() });
    let findings = Findings::new(recorder);
    let told = Told { events: events.clone(), redactor: redactor.clone(), warnings, findings };
    let mut outcome = Build::new(plan, paths, caller, machine.clone(), told).and_then(|build| {
        let audit = build.audit.clone();
        work(build).map_err(|failure| keep_refusals(plan, &mut audit.borrow_mut(), failure))
    });
    for error in machine.borrow_mut().release() {
        let text = format!("clean-up: {error:#}");
        match &mut outcome {
            // The first error is what the user sees; what clean-up says comes after it.
            Err(failure) => failure.clean_up.push(text),
            Ok(_) => events.tell(Event::Message { level: Level::Warn, element: String::new(), text }),
        }
    }
    outcome.map_err(|failure| redactor.failure(failure))
}

/// A build that failed has no artifacts, but what it was refused is not forgotten: it goes into `NAME.refused.jsonl`.
fn keep_refusals(plan: &Plan, audit: &mut Audit, mut failure: Failure) -> Failure {
    let path = format!("{}.refused.jsonl", plan.output);
    let kept = audit.end().and_then(|()| match audit.refused() {
        true => std::fs::write(&path, audit.text()).with_context(|| format!("writing {path}")),
        false => Ok(()),
    });
    if let Err(error) = kept {
        failure.clean_up.push(format!("the audit log: {error:#}"));
    }
    failure
}

/// A name for this build among those of the machine.
fn build_id(plan: &Plan) -> String {
    let digest = dibw_plan::digest::digest(plan);
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{}-{}-{}", &digest[..12.min(digest.len())], since.as_nanos(), std::process::id())
}

/// Who hears of a build, and what is kept of it.
struct Told {
    events: Rc<dyn Events>,
    redactor: Rc<Redactor>,
    warnings: Rc<Warnings>,
    findings: Findings,
}

impl<'a> Build<'a> {
    fn new(
        plan: &'a Plan,
        paths: &Paths,
        caller: &Caller,
        machine: Rc<RefCell<dyn Machine>>,
        told: Told,
    ) -> Result<Self, Failure> {
        let Told { events, redactor, warnings, findings } = told;
        let work_dir = machine.borrow().work_dir().to_path_buf();
        // Another build may be using the cache: one that wants nothing of it has its own.
        let image_cache = match &paths.image_cache {
            _ if plan.refresh => work_dir.join("cache"),
            Some(given) => given.clone(),
            None => paths.cache.join("images"),
        };
        for directory in [&image_cache].into_iter().chain(&paths.lockfiles) {
            std::fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
        }
        let hooks = work_dir.join("hooks");
        let host = Arc::new(dibw_host::Host::new(&paths.cache.join("components"))?);
        let mut build = Self {
            plan,
            events,
            audit: Rc::new(RefCell::new(Audit::open(&build_id(plan), &plan.rules)?)),
            current: Current::default(),
            trials: caller.trials.clone(),
            tried: RefCell::default(),
            components: Components::of(plan, host.clone()),
            host,
            base_variables: caller.variables.clone(),
            owner: caller.owner,
            variables: Variables::new(),
            target_variables: Variables::new(),
            side: Side::Outside,
            rehearsed: BTreeSet::new(),
            image_bytes: None,
            done: 0,
            owners: Owners::default(),
            offers: Rc::new(caller.offers.clone()),
            redactor,
            secrets_in_target: Rc::default(),
            element_caches: paths.cache.join("elements"),
            kernel: Rc::default(),
            image_cache,
            lockfiles: paths.lockfiles.clone(),
            start_dir: std::env::current_dir().context("the current directory")?,
            hooks,
            hooks_in_target: work_dir.join("hooks-in-target"),
            layers: None,
            warnings,
            on_disk: false,
            set_by_hook: Variables::new(),
            more_packages: false,
            goal: Goal::default(),
            stopped: false,
            loaded: BTreeMap::new(),
            requested: BTreeSet::new(),
            index_updated: false,
            index_of: None,
            artifacts: Artifacts::default(),
            pending: Vec::new(),
            package_list: None,
            findings,
            began: Instant::now(),
            machine,
        };
        build.set_base_variables(&work_dir);
        build.open_layers(paths)?;
        Ok(build)
    }

    fn run(mut self) -> Result<Artifacts, Failure> {
        let outcome = self.all_steps();
        self.close_layers();
        outcome.map(|()| self.artifacts)
    }

    pub(crate) fn all_steps(&mut self) -> Result<(), Failure> {
        let digest = dibw_plan::digest::digest(self.plan);
        self.tell(Event::Started { plan: digest, steps: self.plan.steps.len() });
        self.owners = crate::hooks_tree::merge(&self.plan.elements, &self.hooks)?;
        self.install_library()?;
        self.write_disk_parameters()?;
        let images = self.machine().work_dir().join("images");
        std::fs::create_dir_all(&images).with_context(|| format!("making {}", images.display()))?;
        // There is a target, if an empty one, from the first step on.
        self.machine().begin_layer("000-empty")?;
        let plan = self.plan;
        let mut phases = Phase::ALL.into_iter().peekable();
        let mut steps = plan.steps.as_slice();
        let mut asked = false;
        while let Some(first) = steps.first() {
            // A phase without steps may have got hooks by those before it.
            if let Some(phase) = phases.next_if(|phase| *phase <= place(first)) {
                let count = steps.iter().take_while(|step| step.phase == Some(phase)).count();
                let (own, rest) = steps.split_at(count);
                steps = rest;
                self.phase(phase, own)?;
            } else {
                let output = steps.iter().find(|step| matches!(step.action, Action::Output { .. }));
                let blamed = output.unwrap_or(first);
                if is_of_outputs(&first.action)
                    && !std::mem::replace(&mut asked, true)
                    && self.recall_outputs(steps).map_err(|failure| self.blame(blamed, failure))?
                {
                    break;
                }
                steps = &steps[1..];
                self.numbered(first)?;
            }
            if self.stopped {
                return Ok(());
            }
        }
        if self.stopped {
            return Ok(());
        }
        self.stop_if_told()?;
        self.finish_outputs()?;
        self.tell(Event::Finished { took: self.began.elapsed() });
        Ok(())
    }

    /// Does one step and tells of it.
    pub(crate) fn numbered(&mut self, step: &Step) -> Result<(), Failure> {
        self.stop_if_told()?;
        self.stop_if_late()?;
        let began = Instant::now();
        self.tell_step(step);
        let number = self.done;
        self.stop_at(Moment::Before, step)?;
        if self.stopped {
            return Ok(());
        }
        let cache = self.layered(number, step).map_err(|failure| {
            self.keep_failed(step);
            self.blame(step, failure)
        })?;
        let took = began.elapsed();
        if let Some(layers) = &mut self.layers {
            layers.note_time(took);
        }
        self.tell(Event::StepDone { number, took, cache });
        self.stop_at(Moment::After, step)
    }

    /// Tells that a step begins.
    pub(crate) fn tell_step(&mut self, step: &Step) {
        self.done += 1;
        self.current = Current {
            element: step.element.clone().unwrap_or_default(),
            phase: step.phase.map_or("", Phase::name).to_owned(),
            rule: format!("{}: {}", dibw_plan::render::confinement(step.confinement), step.rule),
        };
        let (phase, element) = (self.current.phase.clone(), self.current.element.clone());
        self.tell(Event::Step { number: self.done, phase, element, title: dibw_plan::render::title(step) });
    }

    /// Does one step.
    pub(crate) fn step(&mut self, step: &Step) -> Result<(), Failure> {
        let phase = step.phase.unwrap_or(Phase::Cleanup);
        match &step.action {
            Action::Environment { .. } => self.environment(phase),
            Action::Script { name } => self.script(phase, name, step),
            Action::Hook => self.typed_hook(phase, step),
            Action::Packages { requests } => self.packages(phase, requests),
            Action::PrepareTarget => self.prepare_target(),
            Action::InstallBin => self.install_bin(),
            Action::InstallStatic => self.install_static(),
            Action::InstallServiceMap { maps } => self.install_service_map(maps),
            Action::CleanTarget => self.clean_target(),
            Action::ReportUsage { least } => self.report_usage(*least),
            Action::CreateDisk => self.create_disk(),
            Action::FinishDisk => self.finish_disk(),
            Action::PackageManifest => self.list_packages(),
            Action::Output { kind } => self.output(*kind),
        }
    }

    pub(crate) fn stop_if_told(&self) -> Result<(), Failure> {
        match self.machine.borrow().interrupted() {
            true => Err(Failure::interrupted()),
            false => Ok(()),
        }
    }

    /// A build may have a time that the policy gives it.
    fn stop_if_late(&self) -> Result<(), Failure> {
        match (self.plan.rules.resources.wall, self.time_left()) {
            (Some(seconds), Some(Duration::ZERO)) => {
                let policy = &self.plan.rules.policy;
                let message =
                    format!("time limit of {seconds} s for a build reached (resources.wall of {policy})");
                Err(Failure::new(message))
            }
            (Some(_) | None, _) => Ok(()),
        }
    }

    /// What is left of that time.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        let wall = self.plan.rules.resources.wall?;
        Some(Duration::from_secs(wall).saturating_sub(self.began.elapsed()))
    }

    /// A signal that arrives during a step makes whatever it broke an interruption.
    fn blame(&self, step: &Step, failure: Failure) -> Failure {
        if self.machine.borrow().interrupted() {
            return Failure::interrupted();
        }
        let failure = match step.action {
            Action::Script { .. } | Action::Hook => failure,
            _ => failure.during(&dibw_plan::render::title(step)),
        };
        // A full work directory is also behind errors that do not say so: a loop device knows only I/O errors.
        let unexplained = failure.kind == FaultKind::Build && failure.hint.is_none();
        match self.machine.borrow().full() {
            Some(full) if failure.full || (unexplained && full != Full::Image) => failure.because_full(&full),
            Some(_) | None => failure,
        }
    }

    /// Tells listeners what happened.
    pub(crate) fn tell(&self, event: Event) {
        self.events.tell(event);
    }

    /// The machine, for one call.
    pub(crate) fn machine(&self) -> RefMut<'_, dyn Machine> {
        self.machine.borrow_mut()
    }

    /// The target as the host's root sees it.
    pub(crate) fn target(&self) -> Result<PathBuf, Failure> {
        Ok(self.machine().target()?)
    }

    /// The target's files, never followed out of it.
    pub(crate) fn files(&self) -> Result<TargetFiles, Failure> {
        Ok(TargetFiles::open(&self.target()?)?)
    }
}
