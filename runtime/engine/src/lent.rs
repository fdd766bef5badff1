//! What a typed hook is lent: the target's files, its tools in the sandbox, the phase's variables and package transaction.
//! The host asks the policy before each call; here it is only done.

mod boot;
mod brought;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use dibw_host::{
    Account, Download, FileStat, Follow, GroupKind, Judge, Lend, Lent, LentError, LogLevel, Output, Sudo,
};
use dibw_plan::Phase;
use dibw_policy::{Access, BootLoader, MountKind, Record, ServiceAction};
use dibw_sys::target_files::{FileError, SpecialBits, kind_name};
use dibw_sys::target_trees::TreeAccess;

use crate::accounts;
use crate::audit::Audit;
use crate::element_cache::ElementCache;
use crate::events::{Event, Events, Level, printable};
use crate::kernel_files::KernelSettings;
use crate::machine::{Ending, Inside, Machine, Stream};
use crate::offers::Offers;
use crate::redaction::Redactor;
use crate::run::Current;
use crate::target::TargetFiles;
use dibw_compat::environment::Variables;

pub use self::boot::{CacheMount, HookMount};

/// What a hook leaves behind for the engine: requests and variables.
#[derive(Debug, Default)]
pub struct Left {
    /// Packages it wants.
    pub install: Vec<String>,
    /// Packages it wants gone.
    pub remove: Vec<String>,
    /// Variables it set.
    pub variables: Variables,
    /// It added a package repository: what is known of packages is out of date.
    pub new_repositories: bool,
}

/// The lender for one hook.
pub struct Lender {
    /// The machine.
    pub machine: Rc<RefCell<dyn Machine>>,
    /// Who listens.
    pub events: Rc<dyn Events>,
    /// Where decisions are recorded.
    pub audit: Rc<RefCell<Audit>>,
    /// Name of the element.
    pub element: String,
    /// Variables of the phase, as the target's tools see them.
    pub variables: Variables,
    /// What is left.
    pub left: Rc<RefCell<Left>>,
    /// The phase of the hook.
    pub phase: Phase,
    /// What is offered by name.
    pub offers: Rc<Offers>,
    /// Takes secrets out of what programs print.
    pub redactor: Rc<Redactor>,
    /// Whether a secret was written into the target in this build.
    pub secrets_in_target: Rc<Cell<bool>>,
    /// What the element keeps from build to build.
    pub cache: ElementCache,
    /// What elements asked of the kernel in this build, by element.
    pub kernel: Rc<RefCell<BTreeMap<String, KernelSettings>>>,
    /// The device of the image, once it is made; what hooks see of it is theirs to change.
    pub disk: Option<String>,
    /// Mount point of the disk's EFI system partition, if it has one.
    pub esp: Option<String>,
    /// No network.
    pub offline: bool,
    /// What the hook's programs find mounted.
    pub mounts: Vec<HookMount>,
    /// The cache among that.
    pub cache_mount: CacheMount,
}

/// Longest wait for a tool of the target that the runtime itself calls.
const TOOL_TIMEOUT: Duration = Duration::from_secs(120);

/// Most bytes kept of each stream of a program.
const OUTPUT_LIMIT: usize = 1 << 20;

impl Lender {
    fn files(&self) -> Lend<TargetFiles> {
        let root = self.machine.borrow_mut().target().map_err(|error| io(&error))?;
        TargetFiles::open(&root).map_err(|error| io(&error))
    }

    /// A command of the target's sandbox, without network.
    fn command(&self, argv: &[String], stdin: &[u8], timeout: Duration) -> Inside {
        Inside {
            argv: argv.to_vec(),
            env: self.variables.clone(),
            stdin: stdin.to_vec(),
            timeout: Some(timeout),
            ..Inside::default()
        }
    }

    /// Runs a tool of the target for the runtime: it does not see what the hook had mounted.
    fn run(&self, argv: &[String], stdin: &[u8], timeout: Duration) -> Lend<Output> {
        self.run_command(&self.command(argv, stdin, timeout))
    }

    fn run_command(&self, command: &Inside) -> Lend<Output> {
        let mut output = Output::default();
        let mut take = |stream, bytes: &[u8]| {
            let kept = match stream {
                Stream::Stdout => &mut output.stdout,
                Stream::Stderr => &mut output.stderr,
            };
            let room = OUTPUT_LIMIT - kept.len();
            kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        };
        let ending =
            self.machine.borrow_mut().inside_exact(command, &mut take).map_err(|error| io(&error))?;
        let current = Current {
            element: self.element.clone(),
            phase: self.phase.name().to_owned(),
            rule: "strict".to_owned(),
        };
        let attempts = self.machine.borrow_mut().take_attempts();
        for attempt in attempts {
            let record = crate::attempts::record(&current, &attempt);
            self.audit.borrow_mut().add(&record).map_err(|error| LentError::Fatal(format!("{error:#}")))?;
        }
        let shown = |bytes| self.redactor.captured(bytes, OUTPUT_LIMIT);
        let output = Output { stdout: shown(output.stdout), stderr: shown(output.stderr) };
        let line = || command.argv.join(" ");
        let code = match ending {
            Ending::Exited(0) => return Ok(output),
            Ending::Exited(code) => Some(code),
            Ending::Signalled(_) => None,
            Ending::TimedOut => {
                let timeout = command.timeout.unwrap_or_default();
                return Err(LentError::Limit(format!("`{}` took longer than {timeout:?}", line())));
            }
            Ending::Interrupted => return Err(LentError::Fatal("interrupted".into())),
            Ending::Exceeded(exceeded) => {
                return Err(LentError::Limit(format!("`{}`: {exceeded}", line())));
            }
        };
        Err(LentError::Exec { argv: command.argv.clone(), code, stderr_tail: tail(&output.stderr) })
    }

    /// The same for the tools that accounts are made with.
    fn tool(&self) -> impl FnMut(&[&str]) -> anyhow::Result<()> + '_ {
        |argv: &[&str]| {
            let argv: Vec<String> = argv.iter().map(|&word| word.to_owned()).collect();
            Ok(self.run(&argv, &[], TOOL_TIMEOUT).map(drop)?)
        }
    }
}

/// The last 20 lines.
fn tail(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

fn io(error: &anyhow::Error) -> LentError {
    LentError::Io(format!("{error:#}"))
}

/// A failed tool stays an `Exec` error, whatever stood between.
fn lent(error: anyhow::Error) -> LentError {
    match error.downcast::<LentError>() {
        Ok(error) => error,
        Err(error) => match error.downcast::<FileError>() {
            Ok(error) => file(error),
            Err(error) => io(&error),
        },
    }
}

fn file(error: FileError) -> LentError {
    let text = error.to_string();
    match error {
        FileError::NotFound { .. } => LentError::NotFound(text),
        FileError::NotRegular { .. } | FileError::Invalid { .. } => LentError::Invalid(text),
        FileError::TooLarge { .. } => LentError::Limit(text),
        FileError::Io { .. } => LentError::Io(text),
    }
}

impl Lent for Lender {
    fn resolve(&mut self, path: &str, follow: Follow) -> Lend<String> {
        let files = self.files()?.0;
        match follow {
            Follow::Parents => files.resolve(path),
            Follow::Whole => files.resolve_following(path),
        }
        .map_err(file)
    }

    fn read_file(&mut self, path: &str, offset: u64, length: u64) -> Lend<Vec<u8>> {
        self.part(path, offset, length)
    }

    fn write_file(&mut self, path: &str, contents: &[u8], mode: u32) -> Lend<()> {
        self.files()?.0.write(path, contents, mode, SpecialBits::Strip).map_err(file)
    }

    fn make_directory(&mut self, path: &str, mode: u32) -> Lend<()> {
        self.files()?.0.make_dir(path, mode).map_err(file)
    }

    fn symlink(&mut self, target: &str, path: &str) -> Lend<()> {
        self.files()?.0.symlink(target, path).map_err(file)
    }

    fn read_link(&mut self, path: &str) -> Lend<String> {
        self.files()?.0.read_link(path).map_err(file)
    }

    fn stat(&mut self, path: &str) -> Lend<Option<FileStat>> {
        let stat = self.files()?.0.stat(path).map_err(file)?;
        Ok(stat.map(|stat| FileStat {
            kind: kind_name(stat.kind),
            mode: stat.mode,
            uid: stat.uid,
            gid: stat.gid,
            size: stat.size,
        }))
    }

    fn list_directory(&mut self, path: &str) -> Lend<Vec<String>> {
        self.files()?.0.list_dir(path).map_err(file)
    }

    fn rename(&mut self, from: &str, to: &str) -> Lend<()> {
        self.files()?.0.rename(from, to).map_err(file)
    }

    fn remove(&mut self, path: &str) -> Lend<()> {
        self.files()?.0.remove(path).map_err(file)
    }

    fn remove_tree(&mut self, path: &str) -> Lend<()> {
        self.files()?.0.remove_all(path).map_err(file)
    }

    fn set_mode(&mut self, path: &str, mode: u32) -> Lend<()> {
        self.files()?.0.set_mode(path, mode, SpecialBits::Strip).map_err(file)
    }

    fn set_owner(&mut self, path: &str, uid: u32, gid: u32) -> Lend<()> {
        self.files()?.0.set_owner(path, uid, gid).map_err(file)
    }

    fn install_packages(&mut self, names: &[String]) -> Lend<()> {
        self.left.borrow_mut().install.extend_from_slice(names);
        Ok(())
    }

    fn remove_packages(&mut self, names: &[String]) -> Lend<()> {
        self.left.borrow_mut().remove.extend_from_slice(names);
        Ok(())
    }

    fn set_service(&mut self, action: ServiceAction, unit: &str) -> Lend<()> {
        let verb = match action {
            ServiceAction::Enable => "enable",
            ServiceAction::Disable => "disable",
            ServiceAction::Mask => "mask",
        };
        self.run(&["systemctl", verb, "--", unit].map(str::to_owned), &[], TOOL_TIMEOUT).map(drop)
    }

    fn add_user(&mut self, account: &Account) -> Lend<()> {
        let existing = accounts::existing_account(&account.name, &self.files()?).map_err(lent)?;
        accounts::add(account, existing, &mut self.tool()).map_err(lent)
    }

    fn add_group(&mut self, name: &str, kind: GroupKind) -> Lend<()> {
        let existing = accounts::existing_group(name, &self.files()?).map_err(lent)?;
        accounts::add_group(name, kind, existing, &mut self.tool()).map_err(lent)
    }

    fn set_authorized_keys(&mut self, name: &str, keys: &[String]) -> Lend<()> {
        accounts::set_authorized_keys(name, keys, &self.files()?).map_err(lent)
    }

    fn grant_sudo(&mut self, name: &str, sudo: Sudo) -> Lend<()> {
        accounts::grant_sudo(name, sudo, &self.files()?).map_err(lent)
    }

    fn execute(&mut self, argv: &[String], stdin: &[u8], timeout: Duration) -> Lend<Output> {
        let mounts = self.mounts.iter().map(|mount| (mount.source.clone(), mount.path.clone()));
        let command = Inside { read_write: mounts.collect(), ..self.command(argv, stdin, timeout) };
        let output = self.run_command(&command)?;
        self.bound_cache()?;
        Ok(output)
    }

    fn get_variable(&mut self, name: &str) -> Lend<Option<String>> {
        Ok(self.variables.get(name).cloned())
    }

    fn set_variable(&mut self, name: &str, value: &str) -> Lend<()> {
        self.variables.insert(name.to_owned(), value.to_owned());
        self.left.borrow_mut().variables.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    fn fetch(&mut self, download: &Download, judge: &mut Judge<'_>) -> Lend<Vec<u8>> {
        self.download_bytes(download, judge)
    }

    fn fetch_to_file(
        &mut self,
        download: &Download,
        judge: &mut Judge<'_>,
        path: &str,
        mode: u32,
    ) -> Lend<()> {
        self.download_file(download, judge, path, mode)
    }

    fn read_input(&mut self, name: &str) -> Lend<Vec<u8>> {
        self.input(name)
    }

    fn write_secret(&mut self, name: &str, path: &str, mode: u32) -> Lend<()> {
        self.secret_file(name, path, mode)
    }

    fn cached(&mut self, key: &str) -> Lend<Option<Vec<u8>>> {
        self.cache.get(key).map_err(|error| io(&error))
    }

    fn cache_size_with(&mut self, key: &str, bytes: u64) -> Lend<u64> {
        self.cache.size_with(key, bytes).map_err(|error| io(&error))
    }

    fn cache(&mut self, key: &str, bytes: &[u8]) -> Lend<()> {
        self.cache.put(key, bytes).map_err(|error| io(&error))
    }

    fn mount(&mut self, kind: MountKind, path: &str) -> Lend<()> {
        self.mount_in_target(kind, path)
    }

    fn add_kernel_argument(&mut self, key: &str, value: &str) -> Lend<()> {
        self.kernel_file(|settings, element| settings.argument(element, key, value))
    }

    fn load_kernel_module(&mut self, name: &str) -> Lend<()> {
        self.kernel_file(|settings, element| settings.module(element, name))
    }

    fn set_sysctl(&mut self, key: &str, value: &str) -> Lend<()> {
        self.kernel_file(|settings, element| settings.sysctl(element, key, value))
    }

    fn add_repository(&mut self, id: &str) -> Lend<()> {
        self.catalogued(id)
    }

    fn install_bootloader(&mut self, kind: BootLoader) -> Lend<()> {
        self.install_loader(kind)
    }

    fn open_tree(&mut self, path: &str, access: Access) -> Lend<OwnedFd> {
        let access = match access {
            Access::Read => TreeAccess::Read,
            Access::Write => TreeAccess::Write,
        };
        self.files()?.0.detached_tree(path, access).map_err(lent)
    }

    fn log(&mut self, level: LogLevel, message: &str) {
        let level = match level {
            LogLevel::Debug => Level::Debug,
            LogLevel::Info => Level::Info,
            LogLevel::Warn => Level::Warn,
            LogLevel::Error => Level::Error,
        };
        self.events.tell(Event::Message { level, element: self.element.clone(), text: printable(message) });
    }

    fn audit(&mut self, record: Record) -> Lend<()> {
        self.audit.borrow_mut().add(&record).map_err(|error| LentError::Fatal(format!("{error:#}")))
    }
}
