//! What to tell a package manager: argument vectors for a transaction, and nothing run. Downloading (with the network) is apart from
//! installing (without), because maintainer scripts are anybody's code. Called by the engine, which runs them in the target's sandbox.

use std::collections::BTreeMap;

use super::transaction::Transaction;

/// The package managers that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the programs'")]
pub enum Manager {
    Apt,
    Dnf,
    Zypper,
    Apk,
}

/// What changes how commands are made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Use caches only: no index update, nothing fetched.
    pub offline: bool,
    /// The sandbox has no `_apt` user to become: download as root.
    pub download_as_root: bool,
}

/// One command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Variables beside the phase's.
    pub environment: BTreeMap<String, String>,
    /// Whether it needs the network.
    pub network: bool,
}

/// A transaction as commands, in the order they run; none means there is nothing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commands {
    /// Fetches the index of packages.
    pub update_index: Option<Command>,
    /// Fetches the packages.
    pub download: Option<Command>,
    /// Installs what was fetched.
    pub install: Option<Command>,
    /// Removes.
    pub remove: Option<Command>,
}

impl Manager {
    /// The one that a distribution uses, by its `DISTRO_NAME`.
    pub fn for_distro(distro: &str) -> Option<Self> {
        match distro {
            "debian" | "ubuntu" => Some(Self::Apt),
            "almalinux" | "centos" | "fedora" | "openeuler" | "rhel" | "rocky" => Some(Self::Dnf),
            "opensuse" => Some(Self::Zypper),
            "alpine" => Some(Self::Apk),
            _ => None,
        }
    }

    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Apt => "apt",
            Self::Dnf => "dnf",
            Self::Zypper => "zypper",
            Self::Apk => "apk",
        }
    }

    /// Its program, by which it is also found in a target of unknown distribution.
    pub fn program(self) -> &'static str {
        match self {
            Self::Apt => "apt-get",
            Self::Dnf => "dnf",
            Self::Zypper => "zypper",
            Self::Apk => "apk",
        }
    }

    /// The commands of a transaction.
    pub fn commands(self, transaction: &Transaction, options: &Options) -> Commands {
        let verbs = self.verbs();
        let fetches = !transaction.install.is_empty() && !options.offline;
        let command = |verb: &[&str], names: &[String]| self.command(verb, names, options);
        Commands {
            update_index: fetches.then(|| Command { network: true, ..command(verbs.update_index, &[]) }),
            download: (fetches && !verbs.download.is_empty())
                .then(|| Command { network: true, ..command(verbs.download, &transaction.install) }),
            install: (!transaction.install.is_empty()).then(|| Command {
                network: verbs.download.is_empty() && !options.offline,
                ..command(verbs.install, &transaction.install)
            }),
            remove: (!transaction.remove.is_empty()).then(|| command(verbs.remove, &transaction.remove)),
        }
    }

    /// Prints one line for each installed package: name, version, architecture, separated by tabs (`apk` prints its own form).
    pub fn list_installed(self) -> Command {
        let argv: &[&str] = match self {
            Self::Apt => {
                &["dpkg-query", "--show", "--showformat=${Package}\\t${Version}\\t${Architecture}\\n"]
            }
            Self::Dnf | Self::Zypper => {
                &["rpm", "--query", "--all", "--queryformat=%{NAME}\\t%{EVR}\\t%{ARCH}\\n"]
            }
            Self::Apk => &["apk", "info", "--verbose"],
        };
        Command {
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            environment: BTreeMap::new(),
            network: false,
        }
    }

    fn command(self, verb: &[&str], names: &[String], options: &Options) -> Command {
        let mut argv: Vec<String> = vec![self.program().to_owned()];
        argv.extend(self.options(options).into_iter().map(str::to_owned));
        argv.extend(verb.iter().map(|word| (*word).to_owned()));
        if !names.is_empty() {
            // apk knows no `--`; no package name begins with a dash there either.
            if self != Self::Apk {
                argv.push("--".to_owned());
            }
            argv.extend(names.iter().cloned());
        }
        Command { argv, environment: self.environment(), network: false }
    }

    fn options(self, options: &Options) -> Vec<&'static str> {
        match self {
            Self::Apt => {
                let mut words = vec![
                    "--quiet=2",
                    "--yes",
                    "--option=Acquire::Retries=3",
                    "--option=Dpkg::Use-Pty=0",
                    "--option=Dpkg::Options::=--force-confold",
                    "--option=Dpkg::Options::=--force-confdef",
                    // The build is thrown away when the machine dies; syncing each file costs most of the time.
                    "--option=Dpkg::Options::=--force-unsafe-io",
                    "--option=APT::Install-Recommends=false",
                ];
                if options.download_as_root {
                    words.push("--option=APT::Sandbox::User=root");
                }
                words
            }
            Self::Dnf if options.offline => {
                vec!["--assumeyes", "--setopt=install_weak_deps=False", "--cacheonly"]
            }
            Self::Dnf => vec!["--assumeyes", "--setopt=install_weak_deps=False", "--setopt=keepcache=True"],
            Self::Zypper => vec!["--non-interactive", "--gpg-auto-import-keys"],
            Self::Apk if options.offline => vec!["--no-network"],
            Self::Apk => vec![],
        }
    }

    fn environment(self) -> BTreeMap<String, String> {
        let pairs: &[(&str, &str)] = match self {
            Self::Apt => &[
                ("DEBIAN_FRONTEND", "noninteractive"),
                ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
                ("APT_LISTCHANGES_FRONTEND", "none"),
                ("NEEDRESTART_SUSPEND", "1"),
            ],
            Self::Dnf | Self::Zypper | Self::Apk => &[],
        };
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn verbs(self) -> Verbs {
        match self {
            Self::Apt => Verbs {
                update_index: &["update"],
                download: &["--download-only", "--no-install-recommends", "install"],
                install: &["--no-download", "--no-install-recommends", "install"],
                remove: &["--no-download", "--auto-remove", "purge"],
            },
            Self::Dnf => Verbs {
                update_index: &["makecache"],
                download: &["install", "--downloadonly"],
                install: &["install", "--cacheonly"],
                remove: &["remove"],
            },
            Self::Zypper => Verbs {
                update_index: &["refresh"],
                download: &["install", "--no-recommends", "--download-only"],
                install: &["--no-refresh", "install", "--no-recommends"],
                remove: &["remove", "--clean-deps"],
            },
            // apk fetches and installs in one: its install step keeps the network.
            Self::Apk => {
                Verbs { update_index: &["update"], download: &[], install: &["add"], remove: &["del"] }
            }
        }
    }
}

/// The words of each job; no `download` where a manager cannot do it apart.
struct Verbs {
    update_index: &'static [&'static str],
    download: &'static [&'static str],
    install: &'static [&'static str],
    remove: &'static [&'static str],
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transaction(install: &[&str], remove: &[&str]) -> Transaction {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Transaction { install: owned(install), remove: owned(remove) }
    }

    #[test]
    fn apt_downloads_with_the_network_and_installs_without() {
        let commands = Manager::Apt.commands(&transaction(&["vim"], &["nano"]), &Options::default());
        let [update, download, install, remove] =
            [commands.update_index, commands.download, commands.install, commands.remove].map(Option::unwrap);
        assert_eq!(
            [update.network, download.network, install.network, remove.network],
            [true, true, false, false]
        );
        assert!(download.argv.ends_with(
            &["--download-only", "--no-install-recommends", "install", "--", "vim"].map(String::from)
        ));
        assert!(install.argv.contains(&"--no-download".to_owned()));
        assert!(install.argv.contains(&"--option=Dpkg::Options::=--force-confold".to_owned()));
        assert_eq!(install.environment["DEBIAN_FRONTEND"], "noninteractive");
        assert!(remove.argv.ends_with(&["purge", "--", "nano"].map(String::from)));
        assert!(!install.argv.contains(&"--option=APT::Sandbox::User=root".to_owned()));
    }

    #[test]
    fn nothing_to_do_is_no_command() {
        let commands = Manager::Apt.commands(&Transaction::default(), &Options::default());
        assert_eq!(commands, Commands { update_index: None, download: None, install: None, remove: None });
    }

    #[test]
    fn offline_fetches_nothing() {
        let options = Options { offline: true, download_as_root: true };
        for manager in [Manager::Apt, Manager::Dnf, Manager::Zypper, Manager::Apk] {
            let commands = manager.commands(&transaction(&["vim"], &[]), &options);
            assert_eq!((commands.update_index, commands.download), (None, None));
            assert!(!commands.install.unwrap().network);
        }
    }
}
