//! Questions as people and recorded logs put them, a capability and some words, turned into the operation that is decided.
//!
//! Callers: `dibw policy explain`, `dibw policy test`, `dibw policy suggest`.

use std::net::IpAddr;

use crate::capability::Capability;
use crate::class::Class;
use crate::decide::{explain, explain_right};
use crate::effective::Effective;
use crate::explanation::Explanation;
use crate::identity::Identity;
use crate::kernel::BootLoader;
use crate::mount::MountKind;
use crate::need::Need;
use crate::operation::{Access, Operation};
use crate::policy::Policy;
use crate::subject::escape;
use crate::url::Checksum;

/// A question: may an element use `capability` for what the words say?
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The right that it is about.
    pub capability: Capability,
    /// What for, as in a need: a path; an action and a unit; a program and its arguments; a URL and a checksum.
    pub words: Vec<String>,
    /// Where the name of a download leads.
    pub addresses: Vec<IpAddr>,
}

impl Question {
    /// A question of words alone.
    pub fn new(capability: Capability, words: &[String]) -> Self {
        Question { capability, words: words.to_vec(), addresses: Vec::new() }
    }

    /// The question behind a record of an audit log; none where it cannot be read back: it made no sense, or its subject was cut.
    pub fn of_record(capability: &str, subject: &str) -> Option<Self> {
        let capability: Capability = capability.parse().ok()?;
        let cut = subject.ends_with(" bytes)") && subject.contains("... (");
        let words: Vec<String> =
            subject.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect();
        let question = Question::new(capability, &words);
        let sensible = !cut && question.operation().is_ok();
        sensible.then_some(question)
    }

    /// What every gate says.
    ///
    /// # Errors
    /// The words are not what the capability takes.
    pub fn ask(&self, effective: &Effective) -> Result<Explanation, String> {
        match self.operation()? {
            Some(operation) => Ok(explain(effective, &operation)),
            None => Ok(explain_right(effective, self.capability, &self.words)),
        }
    }

    /// The narrowest needs that cover what is asked; none for what makes no sense, is never allowed, or has wildcards as its name.
    ///
    /// # Errors
    /// The words are not what the capability takes.
    pub fn needs(&self) -> Result<Vec<Need>, String> {
        let nobody = Effective::new(&Identity::default(), &[], &Policy::default(), &[]);
        let Explanation::Judged { verdicts, .. } = self.ask(&nobody)? else { return Ok(Vec::new()) };
        // Nothing is proposed for a need where its value would cover more than what was asked.
        let exact = verdicts.iter().all(|verdict| verdict.refusals().all(|answer| !answer.fixes.is_empty()));
        let needs = verdicts.iter().filter(|_| exact);
        needs.map(|verdict| Need::new(verdict.capability, &verdict.value)).collect()
    }

    /// The operation; none for rights that only go with others.
    ///
    /// # Errors
    /// The words are not what the capability takes.
    pub fn operation(&self) -> Result<Option<Operation>, String> {
        let one = || match self.words.as_slice() {
            [word] => Ok(word.clone()),
            _ => Err(format!("{} takes one word", self.capability)),
        };
        let two = |usage: &str| match self.words.as_slice() {
            [first, second] => Ok((first.clone(), second.clone())),
            _ => Err(format!("{} takes {usage}", self.capability)),
        };
        // `KEY=VALUE`, or a key alone: what is decided is the key.
        let setting = || one().map(|word| word.split_once('=').map_or((word.clone(), "1".to_owned()), split));
        Ok(Some(match self.capability {
            Capability::Log | Capability::Config | Capability::Facts => return Ok(None),
            Capability::TargetRead => self.path(Access::Read),
            Capability::TargetWrite => self.path(Access::Write),
            Capability::TargetWritePrivileged => {
                one()?.parse::<Class>()?;
                return Ok(None);
            }
            Capability::UserPrivileged => {
                one()?;
                return Ok(None);
            }
            Capability::KernelCmdlineUnsafe => {
                one()?;
                return Ok(None);
            }
            Capability::NetAddress => {
                let word = one()?;
                word.parse::<IpAddr>().map_err(|_| format!("`{}` is not an address", escape(&word)))?;
                return Ok(None);
            }
            Capability::TargetExec => Operation::Execute { argv: self.words.clone() },
            Capability::PackagesInstall => Operation::InstallPackage { name: one()? },
            Capability::PackagesRemove => Operation::RemovePackage { name: one()? },
            Capability::ServiceSet => {
                let (action, unit) = two("enable|disable|mask and a unit")?;
                Operation::SetService { action: action.parse()?, unit }
            }
            Capability::UserAdd => match self.words.split_first() {
                Some((name, groups)) => {
                    Operation::AddUser { name: name.clone(), uid: None, groups: groups.to_vec() }
                }
                None => return Err("user.add takes a name, and groups".to_owned()),
            },
            Capability::HostEnv => Operation::GetVariable { name: one()? },
            Capability::EnvSet => Operation::SetVariable { name: one()? },
            Capability::PackagesRepoAdd => Operation::AddRepository { id: one()? },
            Capability::NetFetch => self.fetch()?,
            Capability::HostInput => Operation::ReadInput { name: one()? },
            Capability::SecretUse => match self.words.as_slice() {
                [name, sink, path] if sink == "file" => {
                    Operation::WriteSecret { name: name.clone(), path: path.clone() }
                }
                [name, sink, origin] if sink == "header" => {
                    Operation::SendSecret { name: name.clone(), origin: origin.clone() }
                }
                _ => return Err("secret.use takes NAME file PATH or NAME header ORIGIN".to_owned()),
            },
            Capability::CacheRw => Operation::UseCache { bytes: crate::size::parse(&one()?)? },
            Capability::BlockdevContribute => Operation::ContributeLayout { kind: one()? },
            Capability::MountRequest => {
                let (kind, path) = two("tmpfs|cache|esp and a path")?;
                Operation::RequestMount { kind: kind.parse::<MountKind>()?, path }
            }
            Capability::KernelCmdline => {
                let (key, value) = setting()?;
                Operation::AddKernelArgument { key, value }
            }
            Capability::KernelModules => Operation::LoadKernelModule { name: one()? },
            Capability::Sysctl => {
                let (key, value) = setting()?;
                Operation::SetSysctl { key, value }
            }
            Capability::BootloaderInstall => {
                let word = one()?;
                let known = BootLoader::ALL.into_iter().find(|kind| kind.name() == word);
                let kind = known.ok_or_else(|| format!("`{}` is not a boot loader", escape(&word)))?;
                Operation::InstallBootloader { kind }
            }
            Capability::ImageEmit => Operation::EmitImage { format: one()? },
        }))
    }

    /// A path may have spaces; `PATH/**` is the tree below it.
    fn path(&self, access: Access) -> Operation {
        let path = self.words.join(" ");
        match (path.strip_suffix("/**"), access) {
            (Some(tree), Access::Read) => Operation::Preopen { path: rooted(tree), access },
            (Some(tree), Access::Write) => Operation::RemoveTree { path: rooted(tree) },
            (None, Access::Read) => Operation::ReadFile { path },
            (None, Access::Write) => Operation::WriteFile { path, mode: 0o644 },
        }
    }

    fn fetch(&self) -> Result<Operation, String> {
        let (url, checksum) = match self.words.as_slice() {
            [url] => (url, Checksum::Required),
            [url, checksum] => (url, checksum.parse()?),
            _ => return Err("net.fetch takes a URL and required, first-use or none".to_owned()),
        };
        Ok(Operation::Fetch { url: url.clone(), checksum, addresses: self.addresses.clone() })
    }
}

fn split((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

fn rooted(path: &str) -> String {
    if path.is_empty() { "/".to_owned() } else { path.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(text: &str) -> Result<Vec<String>, String> {
        let mut words = text.split(' ').map(str::to_owned);
        let capability = words.next().unwrap().parse().unwrap();
        let question = Question::new(capability, &words.collect::<Vec<_>>());
        question.needs().map(|needs| needs.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn every_capability_can_be_asked_about() {
        let cases: [(&str, &[&str]); 27] = [
            ("target.read /etc/a b", &["target.read /etc/a b"]),
            ("target.read /etc/**", &["target.read /etc/**"]),
            ("target.write /etc/cron.d/x", &["target.write /etc/cron.d/x", "target.write_privileged cron"]),
            ("target.write_privileged cron", &["target.write_privileged cron"]),
            ("target.exec /bin/a -b", &["target.exec /bin/a -b"]),
            ("packages.install curl", &["packages.install curl"]),
            ("packages.remove curl", &["packages.remove curl"]),
            ("service.set enable ssh.service", &["service.set enable ssh.service"]),
            ("user.add bob users sudo", &["user.add bob", "user.privileged sudo"]),
            ("user.privileged sudo", &["user.privileged sudo"]),
            ("host.env DIB_X", &["host.env DIB_X"]),
            ("env.set DIB_X", &["env.set DIB_X"]),
            ("packages.repo_add acme", &["packages.repo_add acme"]),
            ("net.fetch https://a.example/x", &["net.fetch https://a.example/x required"]),
            (
                "net.fetch http://10.0.0.1/x none",
                &["net.fetch http://10.0.0.1/x none", "net.address 10.0.0.1"],
            ),
            ("net.address 10.0.0.1", &["net.address 10.0.0.1"]),
            ("host.input ca", &["host.input ca"]),
            ("secret.use key file /etc/key", &["secret.use key file /etc/key", "target.write /etc/key"]),
            ("secret.use key header https://a.example", &["secret.use key header https://a.example"]),
            ("cache.rw 4KiB", &["cache.rw 4096"]),
            ("blockdev.contribute mkfs", &["blockdev.contribute mkfs"]),
            ("mount.request tmpfs /tmp", &["mount.request tmpfs /tmp"]),
            ("kernel.cmdline init=/bin/sh", &["kernel.cmdline init", "kernel.cmdline_unsafe init"]),
            ("kernel.modules br_netfilter", &["kernel.modules br_netfilter"]),
            ("sysctl net.ipv4.ip_forward", &["sysctl net.ipv4.ip_forward"]),
            ("bootloader.install grub-pc", &["bootloader.install grub-pc"]),
            ("image.emit qcow2", &["image.emit qcow2"]),
        ];
        for (text, expected) in cases {
            assert_eq!(
                needs(text).as_deref(),
                Ok(expected.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>().as_slice()),
                "{text}"
            );
        }
    }

    #[test]
    fn words_that_do_not_fit() {
        for text in [
            "target.write_privileged crom",
            "service.set start x",
            "service.set enable",
            "packages.install a b",
            "net.fetch https://a.example sometimes",
            "net.address localhost",
            "secret.use key to /x",
            "mount.request nfs /x",
            "bootloader.install lilo",
            "cache.rw much",
        ] {
            assert!(needs(text).is_err(), "{text}");
        }
        assert_eq!(needs("target.write etc"), Ok(vec![]), "makes no sense");
        assert_eq!(needs("host.env LD_PRELOAD"), Ok(vec![]), "never");
        for text in
            ["target.write /etc/*", "target.write /etc/a?", "target.exec /bin/a *", "target.write /a*/**"]
        {
            assert_eq!(needs(text), Ok(vec![]), "{text} would cover more");
        }
        assert_eq!(needs("net.fetch https://a.example/x?y=1").map(|needs| needs.len()), Ok(1));
    }
}
