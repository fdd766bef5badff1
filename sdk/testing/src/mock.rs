//! `Mock`: what a test sees. Sets the target up, runs hooks, tells what they did.

use std::cell::{Ref, RefCell, RefMut};
use std::rc::Rc;

use dibw_policy::subject::escape;
use dibw_sdk::{Account, Cx, Element, Error, Output, Phase, Result, dispatch};

use crate::answers::{Answers, Recorded};
use crate::gate::Gate;
use crate::tree::Contents;

/// What a unit was told last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Unit {
    Enabled,
    Disabled,
    Masked,
}

/// An in-memory target and a runtime that answers for it. Clones share it.
#[derive(Clone)]
pub struct Mock {
    answers: Rc<Answers>,
}

/// Making one.
impl Mock {
    /// Refuses what the manifest's needs do not cover, as the runtime does.
    ///
    /// # Panics
    /// `manifest` was not made by `element!`.
    pub fn strict(manifest: &str) -> Self {
        Self::new(manifest, true)
    }

    /// Refuses only what makes no sense. For exploring; a strict test is what keeps the needs right.
    ///
    /// # Panics
    /// `manifest` was not made by `element!`.
    pub fn lenient(manifest: &str) -> Self {
        Self::new(manifest, false)
    }

    fn new(manifest: &str, enforced: bool) -> Self {
        let answers = Answers { gate: Gate::new(manifest, enforced), recorded: RefCell::default() };
        Self { answers: Rc::new(answers) }
            .fact("arch", "amd64")
            .fact("distro", "debian")
            .fact("release", "bookworm")
            .fact("init-system", "systemd")
            .fact("image-name", "image")
            .fact("source-date-epoch", "0")
            .fact("root-label", "cloudimg-rootfs")
            .fact("root-fstype", "ext4")
    }

    fn change(&self) -> RefMut<'_, Recorded> {
        self.answers.recorded.borrow_mut()
    }

    fn recorded(&self) -> Ref<'_, Recorded> {
        self.answers.recorded.borrow()
    }

    /// Changes a fact; at first it is Debian bookworm on amd64 with systemd and ext4.
    #[must_use]
    pub fn fact(self, name: &str, value: &str) -> Self {
        self.change().facts.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Sets a variable of the phase.
    #[must_use]
    pub fn variable(self, name: &str, value: &str) -> Self {
        self.change().variables.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Puts a file, mode 0644, into the target.
    #[must_use]
    pub fn with_file(self, path: &str, contents: impl AsRef<[u8]>) -> Self {
        self.change().tree.given(path, Contents::File(contents.as_ref().to_vec()), 0o644);
        self
    }

    /// Puts a file, mode 0755, into the target.
    #[must_use]
    pub fn with_program(self, path: &str, contents: impl AsRef<[u8]>) -> Self {
        self.change().tree.given(path, Contents::File(contents.as_ref().to_vec()), 0o755);
        self
    }

    /// Puts a directory into the target.
    #[must_use]
    pub fn with_dir(self, path: &str) -> Self {
        self.change().tree.given(path, Contents::Directory, 0o755);
        self
    }

    /// Puts a symbolic link into the target.
    #[must_use]
    pub fn with_symlink(self, path: &str, target: &str) -> Self {
        self.change().tree.given(path, Contents::Symlink(target.to_owned()), 0o777);
        self
    }

    /// Puts an account into the target; `root` is always there.
    #[must_use]
    pub fn with_account(self, account: Account) -> Self {
        self.change().accounts.insert(account.name.clone(), account);
        self
    }

    /// What a program writes to its standard output. `pattern` is a command line; one that ends with `*` stands for all that start so.
    /// A program without an answer succeeds silently.
    #[must_use]
    pub fn on_exec(self, pattern: &str, stdout: impl AsRef<[u8]>) -> Self {
        let output = Output { stdout: stdout.as_ref().to_vec(), stderr: Vec::new() };
        self.change().programs.push((pattern.to_owned(), Ok(output)));
        self
    }

    /// A program that fails.
    #[must_use]
    pub fn on_exec_fail(self, pattern: &str, code: i32, stderr: &str) -> Self {
        let argv = pattern.split(' ').map(str::to_owned).collect();
        let error = Error::Exec { argv, code: Some(code), stderr_tail: stderr.to_owned() };
        self.change().programs.push((pattern.to_owned(), Err(error)));
        self
    }

    /// What a download from that URL gives. Any other URL is not found.
    #[must_use]
    pub fn with_url(self, url: &str, contents: impl AsRef<[u8]>) -> Self {
        self.change().urls.insert(url, contents.as_ref());
        self
    }

    /// Offers a file by name.
    #[must_use]
    pub fn with_input(self, name: &str, contents: impl AsRef<[u8]>) -> Self {
        self.change().inputs.insert(name.to_owned(), contents.as_ref().to_vec());
        self
    }

    /// Offers a secret by name. It has no bytes here either: a file with it holds `<secret NAME>`.
    #[must_use]
    pub fn with_secret(self, name: &str) -> Self {
        self.change().secrets.insert(name.to_owned());
        self
    }

    /// What an earlier build has put into the element's cache.
    #[must_use]
    pub fn with_cached(self, key: &str, contents: impl AsRef<[u8]>) -> Self {
        self.change().cache.insert(key.to_owned(), contents.as_ref().to_vec());
        self
    }

    /// Puts a package repository into the site's catalogue.
    #[must_use]
    pub fn with_repository(self, id: &str) -> Self {
        self.change().catalogue.insert(id.to_owned());
        self
    }
}

/// Running hooks.
impl Mock {
    /// Runs the hook of `phase` with a configuration as JSON.
    ///
    /// # Errors
    /// What the hook returns, or what is wrong with the configuration.
    pub fn run<T: Element>(&self, phase: Phase, config: &str) -> Result {
        phase.name().clone_into(&mut self.change().phase);
        let cx = Cx::new(self.answers.clone());
        let result = dispatch::<T>(phase, config, &cx);
        if let Err(error) = &result {
            self.answers.gate.note(&format!("fail {phase}: {error}"));
        }
        result
    }

    /// Runs every hook that the element has, in phase order.
    ///
    /// # Errors
    /// As [`Mock::run`]; the phases after the first error do not run.
    pub fn run_all<T: Element>(&self, config: &str) -> Result {
        T::HOOKS.iter().try_for_each(|hook| self.run::<T>(hook.phase, config))
    }
}

/// Seeing what they did.
impl Mock {
    /// Every request with its answer, then every path that was changed with its mode and contents. Compare it as a whole: a change
    /// of what the element asks for is then seen in review.
    pub fn snapshot(&self) -> String {
        self.answers.gate.trace() + &self.recorded().tree.render()
    }

    /// Fails the test when a need was never used: the next version of the manifest should not ask for it.
    ///
    /// # Panics
    /// Naming the needs.
    pub fn assert_all_used(&self) {
        let unused = self.answers.gate.unused();
        assert!(unused.is_empty(), "needs that were never used: {}", unused.join(" "));
    }

    /// The text of a file; none when there is none.
    ///
    /// # Panics
    /// It is not UTF-8.
    pub fn file(&self, path: &str) -> Option<String> {
        let bytes = match &self.recorded().tree.get(path)?.contents {
            Contents::File(bytes) => bytes.clone(),
            Contents::Directory | Contents::Symlink(_) => return None,
        };
        Some(String::from_utf8(bytes).unwrap_or_else(|_| panic!("{} is not UTF-8", escape(path))))
    }

    /// Permission bits of an entry.
    pub fn mode(&self, path: &str) -> Option<u32> {
        self.recorded().tree.get(path).map(|entry| entry.mode)
    }

    /// What a link says.
    pub fn link(&self, path: &str) -> Option<String> {
        match &self.recorded().tree.get(path)?.contents {
            Contents::Symlink(target) => Some(target.clone()),
            Contents::File(_) | Contents::Directory => None,
        }
    }

    /// Packages asked for.
    pub fn packages(&self) -> Vec<String> {
        self.recorded().packages.clone()
    }

    /// Packages whose removal was asked for.
    pub fn removed_packages(&self) -> Vec<String> {
        self.recorded().removed_packages.clone()
    }

    /// What a unit was told last.
    pub fn unit(&self, unit: &str) -> Option<Unit> {
        self.recorded().units.get(unit).copied()
    }

    /// An account of the target.
    pub fn account(&self, name: &str) -> Option<Account> {
        self.recorded().accounts.get(name).cloned()
    }

    /// Groups that were added.
    pub fn groups(&self) -> Vec<String> {
        self.recorded().groups.clone()
    }

    /// The account's keys.
    pub fn keys(&self, name: &str) -> Vec<String> {
        self.recorded().keys.get(name).cloned().unwrap_or_default()
    }

    /// Whether the account has sudo, and if so whether without a password.
    pub fn sudo(&self, name: &str) -> Option<bool> {
        self.recorded().sudo.get(name).copied()
    }

    /// Command lines that were run, each with its standard input.
    pub fn commands(&self) -> Vec<(String, String)> {
        let recorded = self.recorded();
        let lines = recorded.commands.iter().map(|argv| argv.join(" "));
        lines.zip(recorded.stdin.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned())).collect()
    }

    /// A variable as it is now.
    pub fn variable_now(&self, name: &str) -> Option<String> {
        self.recorded().variables.get(name).cloned()
    }

    /// Lines of the log: level and message.
    pub fn log(&self) -> Vec<(String, String)> {
        self.recorded().log.clone()
    }

    /// What is in the element's cache now.
    pub fn cached(&self, key: &str) -> Option<Vec<u8>> {
        self.recorded().cache.get(key).cloned()
    }

    /// Mounts that were asked for: kind and path.
    pub fn mounts(&self) -> Vec<(String, String)> {
        self.recorded().mounts.clone()
    }

    /// Arguments of the image's kernel, sorted: `console=ttyS0`, `quiet`.
    pub fn kernel_arguments(&self) -> Vec<String> {
        self.recorded().kernel_arguments.iter().cloned().collect()
    }

    /// Modules loaded at boot, sorted.
    pub fn kernel_modules(&self) -> Vec<String> {
        self.recorded().kernel_modules.iter().cloned().collect()
    }

    /// A kernel setting.
    pub fn sysctl(&self, key: &str) -> Option<String> {
        self.recorded().sysctl.get(key).cloned()
    }

    /// Repositories that were added.
    pub fn repositories(&self) -> Vec<String> {
        self.recorded().repositories.clone()
    }

    /// Boot loaders that were installed.
    pub fn bootloaders(&self) -> Vec<String> {
        self.recorded().bootloaders.clone()
    }
}
