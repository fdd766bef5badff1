//! Classic hooks: one script of the merged hooks tree, inside the target's sandbox or outside on the host, confined.

use std::collections::VecDeque;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use dibw_compat::environment::{self, Variables};
use dibw_plan::{Confinement, Extra, FaultKind, Phase, Side, Step};
use dibw_policy::confinement::Cage;
use dibw_sys::full::says_full_in_words;

use crate::events::{Event, Level, printable};
use crate::failure::Failure;
use crate::machine::{Ending, Inside, Outside, Stream, StrictView};
use crate::network::ProxiedNetwork;
use crate::run::Build;
use crate::traffic::Proxied;

/// Where hooks see the merged tree in the target.
pub const IN_TARGET: &str = "/tmp/in_target.d";

/// How many lines of a failing command the user sees.
const TAIL: usize = 20;

/// The last lines of a command, passed on as they come.
#[derive(Default)]
pub struct Lines {
    tail: VecDeque<String>,
    /// Everything on standard output, when it is kept.
    pub stdout: String,
    /// A line on standard output assigns a value to `IMAGE_BLOCK_DEVICE`.
    pub names_device: bool,
    keep_stdout: bool,
}

impl Lines {
    /// Passes every line on.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps standard output to itself.
    pub fn keeping_stdout() -> Self {
        Self { keep_stdout: true, ..Self::new() }
    }

    /// Takes one line.
    pub fn take(&mut self, build: &Build<'_>, stream: Stream, line: &str) {
        if self.keep_stdout && stream == Stream::Stdout {
            self.stdout.push_str(line);
            self.stdout.push('\n');
            return;
        }
        self.names_device |= stream == Stream::Stdout && line.contains("IMAGE_BLOCK_DEVICE=");
        let line = printable(line);
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line.clone());
        build.tell(Event::Output { line });
    }

    /// Success, or a failure that names the command and has its last lines.
    pub fn judge(self, what: &str, ending: Ending) -> Result<String, Failure> {
        let (message, status) = match ending {
            Ending::Exited(0) => return Ok(self.stdout),
            Ending::Interrupted => return Err(Failure::interrupted()),
            Ending::Exited(status) => (format!("{what} failed with exit status {status}"), Some(status)),
            Ending::Signalled(signal) => (format!("{what} was ended by signal {signal}"), Some(128 + signal)),
            Ending::TimedOut => (format!("{what} took longer than it may"), None),
            Ending::Exceeded(exceeded) => (format!("{what} was ended: {exceeded}"), None),
        };
        let full = self.tail.iter().any(|line| says_full_in_words(line));
        Err(Failure { status, full, tail: self.tail.into(), ..Failure::new(message) })
    }
}

impl Build<'_> {
    /// Runs the script of a step.
    pub(crate) fn script(&mut self, phase: Phase, name: &str, step: &Step) -> Result<(), Failure> {
        let cage = self.cage(step, phase.side());
        let denied = cage.filter(|cage| cage.level == dibw_policy::Level::Deny);
        self.record_hook(step, name, denied.is_none())?;
        if let Some(cage) = denied {
            let message = format!("{phase}.d/{name} may not run: {}", cage.why);
            return Err(Failure { kind: FaultKind::Policy, ..Failure::new(message) });
        }
        match self.is_tried(step) {
            true => self.try_script(phase, name, step),
            false => self.run_script(phase, name, step),
        }
    }

    /// Runs it as its step says.
    pub(crate) fn run_script(&mut self, phase: Phase, name: &str, step: &Step) -> Result<(), Failure> {
        let said = |build: &Self, text: String| {
            if build.plan.classic {
                build.tell(Event::Output { line: format!("dib-run-parts {text}") });
            }
        };
        let file = self.hooks.join(format!("{phase}.d")).join(name);
        let cage = self.cage(step, phase.side());
        let what = format!("{phase}.d/{name} of element {}", step.element.as_deref().unwrap_or("?"));
        let mut lines = Lines::new();
        let proxied = self.proxied(step)?;
        let netns = proxied.as_ref().map(Proxied::namespace);
        let variables = |variables: Variables| -> Variables {
            let mut seen = environment::seen_in(cage, variables);
            seen.extend(proxied.iter().flat_map(|_| ProxiedNetwork::variables()));
            seen
        };
        let ending = match phase.side() {
            Side::Inside => {
                let seen = format!("{IN_TARGET}/{phase}.d/{name}");
                said(self, format!("Running {seen}"));
                let hooks = self.hooks_for_target(Some((phase, name)))?;
                let command = Inside {
                    argv: with_interpreter(&file, &seen)?,
                    env: variables(self.inside_variables()),
                    timeout: self.time_left(),
                    netns,
                    network: step.extras.contains(&Extra::Network),
                    image_devices: step.extras.contains(&Extra::ImageDevices),
                    read_only: vec![(hooks, IN_TARGET.to_owned())],
                    observed: self.observes(step),
                    ..Inside::default()
                };
                self.inside(&command, &mut lines)?
            }
            Side::Outside => {
                said(self, format!("Running {}", file.display()));
                let strict = match step.confinement {
                    Confinement::Strict => self.own_view(step.element.as_deref().unwrap_or_default())?,
                    _ => StrictView::default(),
                };
                let mut seen = self.outside_variables(phase)?;
                if phase == Phase::Root {
                    seen.extend(self.packages_ahead(step)?);
                }
                let command = Outside {
                    argv: with_interpreter(&file, &file.display().to_string())?,
                    env: variables(seen),
                    timeout: self.time_left(),
                    netns,
                    confinement: step.confinement,
                    network: step.extras.contains(&Extra::Network),
                    strict,
                    ..self.outside_command(phase)?
                };
                self.outside(&command, &mut lines)?
            }
        };
        if let Some(proxied) = proxied {
            self.record_traffic(proxied)?;
        }
        let names_device = lines.names_device;
        lines.judge(&what, ending).map_err(|failure| in_pipeline(phase, failure))?;
        if phase == Phase::BlockDevice && names_device {
            let message = format!("{what} makes a disk of its own (it prints IMAGE_BLOCK_DEVICE=)");
            let hint = "describe the disk in a block-device-default.yaml of an element, or in DIB_BLOCK_DEVICE_CONFIG";
            return Err(Failure::new(message).hint(hint));
        }
        said(self, format!("{name} completed"));
        Ok(())
    }

    /// A command on the host in a phase; the caller says which, and how it is confined.
    pub(crate) fn outside_command(&self, phase: Phase) -> Result<Outside, Failure> {
        Ok(Outside {
            argv: Vec::new(),
            env: self.outside_variables(phase)?,
            cwd: self.start_dir.clone(),
            confinement: Confinement::Confined,
            network: !self.plan.offline,
            interactive: false,
            writable: self.writable()?,
            readable: self.readable(),
            captured: self.beside_artifacts(),
            // The root phase makes the directories itself; in block-device the tree is about to be copied.
            furnished: !matches!(phase, Phase::Root | Phase::BlockDevice),
            strict: StrictView::default(),
            timeout: None,
            netns: None,
        })
    }

    /// What a `strict` hook on the host sees: the files of its own element, the runtime's, and a cache of its own.
    fn own_view(&self, element: &str) -> Result<StrictView, Failure> {
        let own_hooks = self.machine().work_dir().join("own-hooks").join(element);
        if own_hooks.exists() {
            std::fs::remove_dir_all(&own_hooks)
                .with_context(|| format!("emptying {}", own_hooks.display()))?;
        }
        crate::hooks_tree::copy_own(&self.hooks, &self.owners, element, &own_hooks)?;
        let cache = self.image_cache.join(".own").join(element);
        std::fs::create_dir_all(&cache).with_context(|| format!("making {}", cache.display()))?;
        let planned = self.plan.elements.iter().find(|known| known.name == element);
        let directory = planned.map(|known| PathBuf::from(&known.path)).filter(|path| path.is_dir());
        let readable = directory.into_iter().chain([self.library()]).map(|path| (path.clone(), path));
        Ok(StrictView {
            readable: readable.chain([(own_hooks, self.hooks.clone())]).collect(),
            writable: vec![(cache, self.image_cache.clone())],
        })
    }

    /// What hooks in the target see of the merged tree. Where layers are kept, that is no program of a phase but their own: what they can't see
    /// their layers do not depend on.
    fn hooks_for_target(&self, own: Option<(Phase, &str)>) -> Result<PathBuf> {
        if self.layers.is_none() {
            return Ok(self.hooks.clone());
        }
        for phase in Phase::ALL {
            crate::hooks_tree::remove_programs(&self.hooks_in_target.join(format!("{phase}.d")))?;
        }
        if let Some((phase, name)) = own {
            let inner = Path::new(&format!("{phase}.d")).join(name);
            crate::hooks_tree::copy_files(&self.hooks, &self.hooks_in_target, [&inner])?;
        }
        Ok(self.hooks_in_target.clone())
    }

    /// How the hooks of a step's element are caged on a side.
    fn cage(&self, step: &Step, side: Side) -> Option<&'_ Cage> {
        self.plan.rules.cages(step.element.as_deref()).map(|cages| cages.of(side))
    }

    /// The shell library.
    fn library(&self) -> PathBuf {
        self.machine().work_dir().join("lib")
    }

    /// Runs a command in the target's sandbox, passing its lines on.
    pub(crate) fn inside(&self, command: &Inside, lines: &mut Lines) -> Result<Ending, Failure> {
        let ending = {
            let mut machine = self.machine.borrow_mut();
            machine.inside(command, &mut |stream, line| lines.take(self, stream, line))?
        };
        self.record_attempts()?;
        Ok(ending)
    }

    /// Runs a command on the host, passing its lines on.
    pub(crate) fn outside(&self, command: &Outside, lines: &mut Lines) -> Result<Ending, Failure> {
        let ending = {
            let mut machine = self.machine.borrow_mut();
            machine.outside(command, &mut |stream, line| lines.take(self, stream, line))?
        };
        self.record_attempts()?;
        Ok(ending)
    }

    /// What hooks in the target see.
    pub(crate) fn inside_variables(&self) -> Variables {
        match self.side {
            Side::Inside => self.variables.clone(),
            Side::Outside => environment::for_target(&self.variables, IN_TARGET_TOOLS),
        }
    }

    /// Variables begin anew in each phase; its `environment.d` comes over them.
    pub(crate) fn enter_phase(&mut self, phase: Phase) {
        // What the target is stays known in phases without variables of their own.
        if self.variables.contains_key("DISTRO_NAME") {
            self.target_variables = std::mem::take(&mut self.variables);
        }
        self.side = phase.side();
        self.variables = match self.side {
            Side::Inside => environment::for_target(&self.base_variables, IN_TARGET_TOOLS),
            Side::Outside => self.base_variables.clone(),
        };
    }

    /// What hooks on the host see.
    pub(crate) fn outside_variables(&self, phase: Phase) -> Result<Variables, Failure> {
        let mut variables = match self.side {
            Side::Outside => self.variables.clone(),
            Side::Inside => self.base_variables.clone(),
        };
        if matches!(phase, Phase::Root | Phase::Cleanup) {
            variables.insert("TARGET_ROOT".into(), self.target()?.display().to_string());
        }
        Ok(variables)
    }

    /// The directories that hooks on the host may write to.
    fn writable(&self) -> Result<Vec<PathBuf>, Failure> {
        let work_dir = self.machine().work_dir().to_path_buf();
        // The target lies in the work directory.
        let mut writable = vec![work_dir, self.image_cache.clone()];
        writable.extend(self.lockfiles.clone());
        Ok(writable)
    }

    /// The directories that hooks on the host must see.
    fn readable(&self) -> Vec<PathBuf> {
        self.shown().chain([self.start_dir.clone()]).collect()
    }

    /// The directories of the elements and of their merged hooks.
    fn shown(&self) -> impl Iterator<Item = PathBuf> {
        // A component alone has no hooks.
        let elements = self.plan.elements.iter().map(|element| PathBuf::from(&element.path));
        elements.filter(|path| path.is_dir()).chain([self.hooks.clone()])
    }

    /// Evaluates `environment.d` for a phase into this build's variables.
    pub(crate) fn environment(&mut self, phase: Phase) -> Result<(), Failure> {
        // Hooks of earlier phases may have added to it.
        let files = self.environment_files()?;
        if files.is_empty() {
            return Ok(());
        }
        let what = format!("environment.d before {phase}");
        let mut lines = Lines::keeping_stdout();
        // Files test paths of the target in phases that run in it, and of the host in the others.
        let ending = match phase.side() {
            Side::Inside => {
                let command = Inside {
                    argv: environment::command(&format!("{IN_TARGET}/environment.d"), &files),
                    env: self.inside_variables(),
                    timeout: Some(ENVIRONMENT_TIMEOUT),
                    read_only: vec![(self.hooks_for_target(None)?, IN_TARGET.to_owned())],
                    discard: true,
                    ..Inside::default()
                };
                self.inside(&command, &mut lines)?
            }
            Side::Outside => {
                let directory = self.hooks.join("environment.d").display().to_string();
                let readable = self.shown().chain([self.library()]);
                let readable = readable.map(|path| (path.clone(), path)).collect();
                let command = Outside {
                    argv: environment::command(&directory, &files),
                    confinement: Confinement::Strict,
                    network: false,
                    strict: StrictView { readable, writable: Vec::new() },
                    ..self.outside_command(phase)?
                };
                self.outside(&command, &mut lines)?
            }
        };
        let text = lines.judge(&what, ending)?;
        let exported = environment::parse(&text).map_err(anyhow::Error::msg)?;
        self.variables = environment::admitted(&self.plan.rules, &self.variables, exported);
        Ok(())
    }

    /// Tells the user something.
    pub(crate) fn message(&self, level: Level, element: &str, text: impl Into<String>) {
        self.tell(Event::Message { level, element: element.to_owned(), text: printable(&text.into()) });
    }
}

/// Tools of ours that hooks in the target find before its own.
pub const IN_TARGET_TOOLS: &str = "/tmp/in_target.d/.dibw/bin";

/// The status of a script in block-device.d never was that of the build, which read its output through a pipe.
fn in_pipeline(phase: Phase, failure: Failure) -> Failure {
    match phase {
        Phase::BlockDevice => Failure { status: failure.status.map(|_| 1), ..failure },
        _ => failure,
    }
}

/// Evaluating variables is quick; a file that waits for something is a mistake.
const ENVIRONMENT_TIMEOUT: Duration = Duration::from_secs(60);

/// The argument vector for a script: itself, or bash for one that does not name its interpreter (CONTRACT.md 1.4).
fn with_interpreter(file: &Path, seen: &str) -> Result<Vec<String>> {
    let mut start = [0; 4];
    let context = || format!("reading {}", file.display());
    let count = std::fs::File::open(file).with_context(context)?.read(&mut start).with_context(context)?;
    let direct = start[..count].starts_with(b"#!") || start[..count].starts_with(b"\x7fELF");
    Ok(match direct {
        true => vec![seen.to_owned()],
        false => vec!["/bin/bash".to_owned(), seen.to_owned()],
    })
}
