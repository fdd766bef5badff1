//! The stand-in for the runtime: asks the gate, then does what was asked in memory.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use dibw_policy::{BootLoader, Operation, ServiceAction, path::normalise};
use dibw_sdk::host::{Host, sealed::Sealed};
use dibw_sdk::{Account, Error, Output, Result, Stat};

use crate::gate::Gate;
use crate::mock::Unit;
use crate::tree::{Contents, Tree};
use crate::urls::{Known, Urls};

/// What the test set up, and what the element did.
#[derive(Default)]
pub struct Recorded {
    pub tree: Tree,
    pub phase: String,
    pub facts: BTreeMap<String, String>,
    pub variables: BTreeMap<String, String>,
    pub packages: Vec<String>,
    pub removed_packages: Vec<String>,
    pub units: BTreeMap<String, Unit>,
    pub accounts: BTreeMap<String, Account>,
    pub groups: Vec<String>,
    pub keys: BTreeMap<String, Vec<String>>,
    pub sudo: BTreeMap<String, bool>,
    pub commands: Vec<Vec<String>>,
    pub stdin: Vec<Vec<u8>>,
    pub programs: Vec<(String, Result<Output>)>,
    pub log: Vec<(String, String)>,
    pub urls: Urls,
    pub inputs: BTreeMap<String, Vec<u8>>,
    pub secrets: BTreeSet<String>,
    pub cache: BTreeMap<String, Vec<u8>>,
    pub mounts: Vec<(String, String)>,
    pub kernel_arguments: BTreeSet<String>,
    pub kernel_modules: BTreeSet<String>,
    pub sysctl: BTreeMap<String, String>,
    pub catalogue: BTreeSet<String>,
    pub repositories: Vec<String>,
    pub bootloaders: Vec<String>,
}

/// Answers an element's requests.
pub struct Answers {
    pub gate: Gate,
    pub recorded: RefCell<Recorded>,
}

impl Answers {
    fn ask(&self, operation: Operation) -> Result {
        let phase = self.recorded.borrow().phase.clone();
        self.gate.ask(&phase, &operation)
    }

    /// Asks, then acts on the normalised path.
    fn with_path<T>(
        &self,
        path: &str,
        operation: impl FnOnce(String) -> Operation,
        act: impl FnOnce(&mut Tree, &str) -> Result<T>,
    ) -> Result<T> {
        self.ask(operation(path.to_owned()))?;
        let path = normalise(path).map_err(Error::Invalid)?;
        act(&mut self.recorded.borrow_mut().tree, &path)
    }

    fn set_unit(&self, unit: &str, action: ServiceAction, state: Unit) -> Result {
        self.ask(Operation::SetService { action, unit: unit.to_owned() })?;
        self.recorded.borrow_mut().units.insert(unit.to_owned(), state);
        Ok(())
    }

    /// Asks for a download as the runtime does, before anything is sent.
    fn may_fetch(&self, url: &str, checksum: &str, header: Option<(&str, &str)>) -> Result<Known> {
        let known = Known::parse(checksum)?;
        let (url, checksum) = (url.to_owned(), known.kind());
        self.ask(Operation::Fetch { url: url.clone(), checksum, addresses: Vec::new() })?;
        if let Some((_, secret)) = header {
            self.ask(Operation::SendSecret { name: secret.to_owned(), origin: url })?;
            self.known_secret(secret)?;
        }
        Ok(known)
    }

    fn known_secret(&self, name: &str) -> Result {
        match self.recorded.borrow().secrets.contains(name) {
            true => Ok(()),
            false => Err(Error::NotFound(format!("no secret is offered as {name}"))),
        }
    }

    fn known_account(&self, name: &str) -> Result {
        if name == "root" || self.recorded.borrow().accounts.contains_key(name) {
            Ok(())
        } else {
            Err(Error::NotFound(format!("account {name}")))
        }
    }
}

impl Sealed for Answers {}

impl Host for Answers {
    fn log(&self, level: &str, message: &str) {
        self.recorded.borrow_mut().log.push((level.to_owned(), message.to_owned()));
    }

    fn fact(&self, name: &str) -> Option<String> {
        let recorded = self.recorded.borrow();
        match name {
            "phase" => Some(recorded.phase.clone()),
            "element" => Some(self.gate.element().to_owned()),
            other => recorded.facts.get(other).cloned(),
        }
    }

    fn read(&self, path: &str, offset: u64, length: u64) -> Result<Vec<u8>> {
        self.with_path(
            path,
            |path| Operation::ReadFile { path },
            |tree, path| match &tree.existing(path)?.contents {
                Contents::File(bytes) => {
                    let skip = usize::try_from(offset).unwrap_or(usize::MAX);
                    let take = usize::try_from(length).unwrap_or(usize::MAX);
                    Ok(bytes.iter().skip(skip).take(take).copied().collect())
                }
                Contents::Directory | Contents::Symlink(_) => {
                    Err(Error::Io(format!("{path} is not a regular file")))
                }
            },
        )
    }

    fn write(&self, path: &str, contents: &[u8], mode: u32) -> Result {
        let file = Contents::File(contents.to_vec());
        self.with_path(
            path,
            |path| Operation::WriteFile { path, mode },
            |tree, path| tree.put(path, file, mode),
        )
    }

    fn make_dir(&self, path: &str, mode: u32) -> Result {
        let operation = |path| Operation::MakeDirectory { path, mode };
        self.with_path(path, operation, |tree, path| tree.make_directory(path, mode))
    }

    fn symlink(&self, target: &str, path: &str) -> Result {
        let operation = |path| Operation::Symlink { path, target: target.to_owned() };
        self.with_path(path, operation, |tree, path| {
            tree.put(path, Contents::Symlink(target.to_owned()), 0o777)
        })
    }

    fn read_link(&self, path: &str) -> Result<String> {
        self.with_path(
            path,
            |path| Operation::ReadLink { path },
            |tree, path| match &tree.existing(path)?.contents {
                Contents::Symlink(target) => Ok(target.clone()),
                Contents::File(_) | Contents::Directory => {
                    Err(Error::Invalid(format!("{path} is not a symbolic link")))
                }
            },
        )
    }

    fn stat(&self, path: &str) -> Result<Option<Stat>> {
        self.with_path(path, |path| Operation::Stat { path }, |tree, path| Ok(tree.stat(path)))
    }

    fn list_dir(&self, path: &str) -> Result<Vec<String>> {
        self.with_path(path, |path| Operation::ListDirectory { path }, |tree, path| tree.list(path))
    }

    fn rename(&self, from: &str, to: &str) -> Result {
        let is_directory = match normalise(from) {
            Ok(from) => self.recorded.borrow().tree.stat(&from).is_some_and(|stat| stat.is_dir()),
            Err(_) => false,
        };
        let target = to.to_owned();
        let operation = move |from| match is_directory {
            true => Operation::RenameTree { from, to: target },
            false => Operation::Rename { from, to: target },
        };
        self.with_path(from, operation, |tree, from| {
            tree.rename(from, &normalise(to).map_err(Error::Invalid)?)
        })
    }

    fn remove(&self, path: &str) -> Result {
        self.with_path(path, |path| Operation::Remove { path }, Tree::remove)
    }

    fn remove_all(&self, path: &str) -> Result {
        self.with_path(path, |path| Operation::RemoveTree { path }, Tree::remove_all)
    }

    fn set_mode(&self, path: &str, mode: u32) -> Result {
        self.with_path(path, |path| Operation::SetMode { path, mode }, |tree, path| tree.set_mode(path, mode))
    }

    fn set_owner(&self, path: &str, uid: u32, gid: u32) -> Result {
        let operation = |path| Operation::SetOwner { path, uid, gid };
        self.with_path(path, operation, |tree, path| tree.set_owner(path, uid, gid))
    }

    fn install_packages(&self, names: &[String]) -> Result {
        names.iter().try_for_each(|name| self.ask(Operation::InstallPackage { name: name.clone() }))?;
        self.recorded.borrow_mut().packages.extend_from_slice(names);
        Ok(())
    }

    fn remove_packages(&self, names: &[String]) -> Result {
        names.iter().try_for_each(|name| self.ask(Operation::RemovePackage { name: name.clone() }))?;
        self.recorded.borrow_mut().removed_packages.extend_from_slice(names);
        Ok(())
    }

    fn enable(&self, unit: &str) -> Result {
        self.set_unit(unit, ServiceAction::Enable, Unit::Enabled)
    }

    fn disable(&self, unit: &str) -> Result {
        self.set_unit(unit, ServiceAction::Disable, Unit::Disabled)
    }

    fn mask(&self, unit: &str) -> Result {
        self.set_unit(unit, ServiceAction::Mask, Unit::Masked)
    }

    fn add_user(&self, account: &Account) -> Result {
        let (name, groups) = (account.name.clone(), account.groups.clone());
        self.ask(Operation::AddUser { name: name.clone(), uid: account.uid, groups })?;
        self.recorded.borrow_mut().accounts.insert(name, account.clone());
        Ok(())
    }

    fn add_group(&self, name: &str, _system: bool) -> Result {
        self.ask(Operation::AddGroup { name: name.to_owned() })?;
        self.recorded.borrow_mut().groups.push(name.to_owned());
        Ok(())
    }

    fn set_authorized_keys(&self, name: &str, keys: &[String]) -> Result {
        self.ask(Operation::SetAuthorizedKeys { name: name.to_owned() })?;
        self.known_account(name)?;
        self.recorded.borrow_mut().keys.insert(name.to_owned(), keys.to_vec());
        Ok(())
    }

    fn grant_sudo(&self, name: &str, passwordless: bool) -> Result {
        self.ask(Operation::GrantSudo { name: name.to_owned() })?;
        self.known_account(name)?;
        self.recorded.borrow_mut().sudo.insert(name.to_owned(), passwordless);
        Ok(())
    }

    fn run(&self, argv: &[String], stdin: &[u8], _timeout_seconds: u32) -> Result<Output> {
        self.ask(Operation::Execute { argv: argv.to_vec() })?;
        let mut recorded = self.recorded.borrow_mut();
        recorded.commands.push(argv.to_vec());
        recorded.stdin.push(stdin.to_vec());
        let line = argv.join(" ");
        let answer = recorded.programs.iter().rev().find(|(pattern, _)| match pattern.strip_suffix('*') {
            Some(start) => line.starts_with(start),
            None => line == *pattern,
        });
        answer.map_or_else(|| Ok(Output::default()), |(_, answer)| answer.clone())
    }

    fn variable(&self, name: &str) -> Result<Option<String>> {
        self.ask(Operation::GetVariable { name: name.to_owned() })?;
        Ok(self.recorded.borrow().variables.get(name).cloned())
    }

    fn set_variable(&self, name: &str, value: &str) -> Result {
        self.ask(Operation::SetVariable { name: name.to_owned() })?;
        self.recorded.borrow_mut().variables.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    fn fetch(&self, url: &str, checksum: &str, header: Option<(&str, &str)>) -> Result<Vec<u8>> {
        let checksum = self.may_fetch(url, checksum, header)?;
        self.recorded.borrow().urls.answer(url, &checksum)
    }

    fn fetch_to_file(
        &self,
        url: &str,
        checksum: &str,
        header: Option<(&str, &str)>,
        path: &str,
        mode: u32,
    ) -> Result {
        self.ask(Operation::WriteFile { path: path.to_owned(), mode })?;
        let checksum = self.may_fetch(url, checksum, header)?;
        let path = normalise(path).map_err(Error::Invalid)?;
        let contents = self.recorded.borrow().urls.answer(url, &checksum)?;
        self.recorded.borrow_mut().tree.put(&path, Contents::File(contents), mode)
    }

    fn input(&self, name: &str) -> Result<Vec<u8>> {
        self.ask(Operation::ReadInput { name: name.to_owned() })?;
        let found = self.recorded.borrow().inputs.get(name).cloned();
        found.ok_or_else(|| Error::NotFound(format!("no input is offered as {name}")))
    }

    fn write_secret(&self, name: &str, path: &str, mode: u32) -> Result {
        self.ask(Operation::WriteFile { path: path.to_owned(), mode })?;
        self.ask(Operation::WriteSecret { name: name.to_owned(), path: path.to_owned() })?;
        self.known_secret(name)?;
        let path = normalise(path).map_err(Error::Invalid)?;
        let contents = Contents::File(format!("<secret {name}>").into_bytes());
        self.recorded.borrow_mut().tree.put(&path, contents, mode)
    }

    fn cached(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.ask(Operation::UseCache { bytes: 0 })?;
        Ok(self.recorded.borrow().cache.get(key).cloned())
    }

    fn cache(&self, key: &str, bytes: &[u8]) -> Result {
        let others = |recorded: &Recorded| -> usize {
            recorded.cache.iter().filter(|(known, _)| *known != key).map(|(_, kept)| kept.len()).sum()
        };
        let whole = others(&self.recorded.borrow()) + bytes.len();
        self.ask(Operation::UseCache { bytes: whole as u64 })?;
        self.recorded.borrow_mut().cache.insert(key.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn mount(&self, kind: &str, path: &str) -> Result {
        let kind = kind.parse().map_err(Error::Invalid)?;
        self.ask(Operation::RequestMount { kind, path: path.to_owned() })?;
        self.recorded.borrow_mut().mounts.push((kind.name().to_owned(), path.to_owned()));
        Ok(())
    }

    fn add_kernel_argument(&self, key: &str, value: &str) -> Result {
        self.ask(Operation::AddKernelArgument { key: key.to_owned(), value: value.to_owned() })?;
        let argument = if value.is_empty() { key.to_owned() } else { format!("{key}={value}") };
        self.recorded.borrow_mut().kernel_arguments.insert(argument);
        Ok(())
    }

    fn load_kernel_module(&self, name: &str) -> Result {
        self.ask(Operation::LoadKernelModule { name: name.to_owned() })?;
        self.recorded.borrow_mut().kernel_modules.insert(name.to_owned());
        Ok(())
    }

    fn set_sysctl(&self, key: &str, value: &str) -> Result {
        self.ask(Operation::SetSysctl { key: key.to_owned(), value: value.to_owned() })?;
        self.recorded.borrow_mut().sysctl.insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    fn add_repository(&self, id: &str) -> Result {
        self.ask(Operation::AddRepository { id: id.to_owned() })?;
        let mut recorded = self.recorded.borrow_mut();
        if !recorded.catalogue.contains(id) {
            return Err(Error::NotFound(format!("no repository of the catalogue is called {id}")));
        }
        recorded.repositories.push(id.to_owned());
        Ok(())
    }

    fn install_bootloader(&self, kind: &str) -> Result {
        let kind: BootLoader = kind.parse().map_err(Error::Invalid)?;
        self.ask(Operation::InstallBootloader { kind })?;
        if self.recorded.borrow().phase != "finalise" {
            return Err(Error::Invalid("a boot loader is installed in the phase finalise".to_owned()));
        }
        self.recorded.borrow_mut().bootloaders.push(kind.name().to_owned());
        Ok(())
    }
}
