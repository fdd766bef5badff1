//! What a manifest asks for: a capability and a pattern. The same form is used for grants and ceilings.
//!
//! Callers: manifests (`dibw-plan`), policy files, command-line grants, [`crate::decide()`].

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::address::Cidr;
use crate::capability::{Capability, ServiceAction, ValueKind};
use crate::class::Class;
use crate::glob::{Extent, PathGlob, word_matches};
use crate::mount::MountKind;
use crate::url::{Checksum, Url, UrlPattern};
use crate::{size, variable};

/// A capability with a pattern of what it is wanted for. JSON: `{"capability": "target.write", "value": "/etc/motd"}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Need {
    capability: Capability,
    value: String,
    pattern: Pattern,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Pattern {
    /// Covers everything: capabilities without a value.
    Any,
    Path(PathGlob),
    /// One glob for each word.
    Words(Vec<String>),
    Argv {
        program: PathGlob,
        arguments: Vec<String>,
        any_more: bool,
    },
    Url(UrlPattern, Checksum),
    Cidr(Cidr),
    Size(u64),
    /// Words that are globs, and at the end a path.
    WordsAndPath(Vec<String>, PathGlob),
}

#[derive(Serialize, Deserialize)]
struct Written {
    capability: String,
    #[serde(default)]
    value: String,
}

impl Need {
    /// A need, after checking that the value makes sense for the capability.
    ///
    /// # Errors
    /// What is wrong with the value, in one sentence.
    pub fn new(capability: Capability, value: &str) -> Result<Self, String> {
        let pattern = parse_pattern(capability.value_kind(), value)
            .map_err(|wrong| format!("{capability}: {wrong}"))?;
        Ok(Need { capability, value: value.to_owned(), pattern })
    }

    /// The capability asked for.
    pub fn capability(&self) -> Capability {
        self.capability
    }

    /// The value as it was written.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// 1 to 4; see [`Capability::risk`]. Needs above 3 are granted on the command line only.
    pub fn risk(&self) -> u8 {
        match self.capability {
            Capability::HostEnv => variable::read_risk(&self.value),
            Capability::EnvSet => variable::write_risk(&self.value),
            Capability::NetFetch => match &self.pattern {
                Pattern::Url(_, Checksum::None) => 4,
                Pattern::Url(url, Checksum::Required) if url.names_its_host() => 2,
                _ => 3,
            },
            Capability::Log
            | Capability::Config
            | Capability::Facts
            | Capability::TargetRead
            | Capability::TargetWrite
            | Capability::TargetWritePrivileged
            | Capability::TargetExec
            | Capability::PackagesInstall
            | Capability::PackagesRemove
            | Capability::ServiceSet
            | Capability::UserAdd
            | Capability::UserPrivileged
            | Capability::PackagesRepoAdd
            | Capability::NetAddress
            | Capability::HostInput
            | Capability::SecretUse
            | Capability::CacheRw
            | Capability::BlockdevContribute
            | Capability::MountRequest
            | Capability::KernelCmdline
            | Capability::KernelCmdlineUnsafe
            | Capability::KernelModules
            | Capability::Sysctl
            | Capability::BootloaderInstall
            | Capability::ImageEmit => self.capability.risk(),
        }
    }

    /// Whether the words of a request (a path; a name; an action and a unit; an argv) are covered.
    pub(crate) fn covers(&self, words: &[String], extent: Extent) -> bool {
        match &self.pattern {
            Pattern::Any => true,
            Pattern::Path(glob) => matches!(words, [path] if glob.covers(path, extent)),
            Pattern::Words(globs) => {
                globs.len() == words.len() && globs.iter().zip(words).all(|(g, w)| word_matches(g, w))
            }
            Pattern::Argv { program, arguments, any_more } => {
                let [called, given @ ..] = words else {
                    return false;
                };
                let enough =
                    if *any_more { given.len() >= arguments.len() } else { given.len() == arguments.len() };
                enough
                    && program.covers(called, Extent::Entry)
                    && arguments.iter().zip(given).all(|(g, w)| word_matches(g, w))
            }
            Pattern::Url(pattern, least) => match words {
                [url, checksum] => {
                    Url::parse(url).is_ok_and(|url| pattern.covers(&url))
                        && checksum.parse::<Checksum>().is_ok_and(|checksum| checksum <= *least)
                }
                _ => false,
            },
            Pattern::Cidr(block) => {
                matches!(words, [address] if address.parse().is_ok_and(|address| block.contains(address)))
            }
            Pattern::Size(most) => {
                matches!(words, [bytes] if bytes.parse::<u64>().is_ok_and(|bytes| bytes <= *most))
            }
            Pattern::WordsAndPath(globs, path) => match words {
                [first @ .., last] => {
                    first.len() == globs.len()
                        && globs.iter().zip(first).all(|(g, w)| word_matches(g, w))
                        && path.covers(last, extent)
                }
                [] => false,
            },
        }
    }

    /// Whether everything that `other` covers is covered by this one. Sound; `false` may mean "cannot tell".
    pub fn contains(&self, other: &Need) -> bool {
        if self.capability != other.capability {
            return false;
        }
        match (&self.pattern, &other.pattern) {
            (Pattern::Any, _) => true,
            (Pattern::Path(outer), Pattern::Path(inner)) => outer.contains(inner),
            (Pattern::Words(outer), Pattern::Words(inner)) => {
                outer.len() == inner.len() && outer.iter().zip(inner).all(|(o, i)| word_matches(o, i))
            }
            (
                Pattern::Argv { program, arguments, any_more },
                Pattern::Argv { program: inner, arguments: given, any_more: more },
            ) => {
                let enough = if *any_more {
                    given.len() >= arguments.len()
                } else {
                    !more && given.len() == arguments.len()
                };
                enough
                    && program.contains(inner)
                    && arguments.iter().zip(given).all(|(o, i)| word_matches(o, i))
            }
            (Pattern::Url(outer, least), Pattern::Url(inner, checksum)) => {
                outer.contains(inner) && checksum <= least
            }
            (Pattern::Cidr(outer), Pattern::Cidr(inner)) => outer.covers(inner),
            (Pattern::Size(outer), Pattern::Size(inner)) => inner <= outer,
            (Pattern::WordsAndPath(outer, path), Pattern::WordsAndPath(inner, below)) => {
                outer.len() == inner.len()
                    && outer.iter().zip(inner).all(|(o, i)| word_matches(o, i))
                    && path.contains(below)
            }
            (
                Pattern::Path(_)
                | Pattern::Words(_)
                | Pattern::Argv { .. }
                | Pattern::Url(..)
                | Pattern::Cidr(_)
                | Pattern::Size(_)
                | Pattern::WordsAndPath(..),
                _,
            ) => false,
        }
    }

    /// The line of the SDK's `needs!` that declares this need.
    pub fn as_macro_line(&self) -> String {
        let (word, value) = match self.capability {
            Capability::Log | Capability::Config | Capability::Facts => {
                return format!("// {} is always granted", self.capability);
            }
            Capability::TargetRead => ("read", self.value.as_str()),
            Capability::TargetWrite => ("write", self.value.as_str()),
            Capability::TargetWritePrivileged => ("privileged", self.value.as_str()),
            Capability::TargetExec => ("exec", self.value.as_str()),
            Capability::PackagesInstall => ("package", self.value.as_str()),
            Capability::PackagesRemove => ("remove_package", self.value.as_str()),
            Capability::ServiceSet => self.value.split_once(' ').unwrap_or(("enable", &self.value)),
            Capability::UserAdd => ("user", self.value.as_str()),
            Capability::UserPrivileged => ("user_privileged", self.value.as_str()),
            Capability::HostEnv => ("env", self.value.as_str()),
            Capability::EnvSet => ("set_env", self.value.as_str()),
            Capability::PackagesRepoAdd => ("repository", self.value.as_str()),
            Capability::NetFetch => ("fetch", self.value.as_str()),
            Capability::NetAddress => ("address", self.value.as_str()),
            Capability::HostInput => ("input", self.value.as_str()),
            Capability::SecretUse => ("secret", self.value.as_str()),
            Capability::CacheRw => ("cache", self.value.as_str()),
            Capability::BlockdevContribute => ("layout", self.value.as_str()),
            Capability::MountRequest => ("mount", self.value.as_str()),
            Capability::KernelCmdline => ("kernel_argument", self.value.as_str()),
            Capability::KernelCmdlineUnsafe => ("unsafe_kernel_argument", self.value.as_str()),
            Capability::KernelModules => ("kernel_module", self.value.as_str()),
            Capability::Sysctl => ("sysctl", self.value.as_str()),
            Capability::BootloaderInstall => ("bootloader", self.value.as_str()),
            Capability::ImageEmit => return format!("// {} is the runtime's own", self.capability),
        };
        format!("{word} {value:?};")
    }
}

/// The words of `needs!` and the capability each stands for; `enable`, `disable` and `mask` are also the action.
pub const MACRO_WORDS: [(&str, Capability); 26] = [
    ("read", Capability::TargetRead),
    ("write", Capability::TargetWrite),
    ("privileged", Capability::TargetWritePrivileged),
    ("exec", Capability::TargetExec),
    ("package", Capability::PackagesInstall),
    ("remove_package", Capability::PackagesRemove),
    ("enable", Capability::ServiceSet),
    ("disable", Capability::ServiceSet),
    ("mask", Capability::ServiceSet),
    ("user", Capability::UserAdd),
    ("user_privileged", Capability::UserPrivileged),
    ("env", Capability::HostEnv),
    ("set_env", Capability::EnvSet),
    ("repository", Capability::PackagesRepoAdd),
    ("fetch", Capability::NetFetch),
    ("address", Capability::NetAddress),
    ("input", Capability::HostInput),
    ("secret", Capability::SecretUse),
    ("cache", Capability::CacheRw),
    ("layout", Capability::BlockdevContribute),
    ("mount", Capability::MountRequest),
    ("kernel_argument", Capability::KernelCmdline),
    ("unsafe_kernel_argument", Capability::KernelCmdlineUnsafe),
    ("kernel_module", Capability::KernelModules),
    ("sysctl", Capability::Sysctl),
    ("bootloader", Capability::BootloaderInstall),
];

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.capability)?;
        if self.value.is_empty() { Ok(()) } else { write!(f, " {}", crate::subject::escape(&self.value)) }
    }
}

impl TryFrom<Written> for Need {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        Need::new(written.capability.parse()?, &written.value)
    }
}

impl From<Need> for Written {
    fn from(need: Need) -> Written {
        Written { capability: need.capability.name().to_owned(), value: need.value }
    }
}

fn parse_pattern(kind: ValueKind, value: &str) -> Result<Pattern, String> {
    if value.len() > 1024 {
        return Err(format!("value of {} bytes is longer than 1024", value.len()));
    }
    if value.chars().any(char::is_control) {
        return Err(format!("`{}` contains control characters", value.escape_debug()));
    }
    match kind {
        ValueKind::None if value.is_empty() => Ok(Pattern::Any),
        ValueKind::None => Err(format!("takes no value, got `{value}`")),
        ValueKind::Path => Ok(Pattern::Path(PathGlob::parse(value)?)),
        ValueKind::Class => {
            if value != "*" {
                value.parse::<Class>()?;
            }
            Ok(Pattern::Words(vec![value.to_owned()]))
        }
        ValueKind::Name => Ok(Pattern::Words(vec![name_glob(value)?])),
        ValueKind::Service => {
            let (action, unit) = value
                .split_once(' ')
                .ok_or_else(|| format!("`{value}` is not `enable|disable|mask UNIT`"))?;
            action.parse::<ServiceAction>()?;
            Ok(Pattern::Words(vec![action.to_owned(), name_glob(unit)?]))
        }
        ValueKind::Variable => {
            variable::check_pattern(value)?;
            Ok(Pattern::Words(vec![value.to_owned()]))
        }
        ValueKind::Argv => {
            let mut words = value.split(' ').filter(|w| !w.is_empty());
            let program = PathGlob::parse(words.next().unwrap_or_default())?;
            let mut arguments: Vec<String> = words.map(str::to_owned).collect();
            let any_more = arguments.pop_if(|last| last == "**").is_some();
            if arguments.iter().any(|a| a == "**") {
                return Err(format!("`{value}`: `**` (any further words) must come last"));
            }
            Ok(Pattern::Argv { program, arguments, any_more })
        }
        ValueKind::Url => {
            let (url, checksum) = value.split_once(' ').unwrap_or((value, Checksum::Required.name()));
            Ok(Pattern::Url(UrlPattern::parse(url)?, checksum.parse()?))
        }
        ValueKind::Cidr => Ok(Pattern::Cidr(value.parse()?)),
        ValueKind::Size => Ok(Pattern::Size(size::parse(value)?)),
        ValueKind::Secret => secret(value),
        ValueKind::Mount => {
            let (kind, path) =
                value.split_once(' ').ok_or_else(|| format!("`{value}` is not `tmpfs|cache|esp PATH`"))?;
            kind.parse::<MountKind>()?;
            Ok(Pattern::WordsAndPath(vec![kind.to_owned()], PathGlob::parse(path)?))
        }
    }
}

fn secret(value: &str) -> Result<Pattern, String> {
    let shape = || format!("`{value}` is not `NAME file PATH` or `NAME header ORIGIN`");
    let (name, sink) = value.split_once(' ').ok_or_else(shape)?;
    let name = name_glob(name)?;
    match sink.split_once(' ').ok_or_else(shape)? {
        ("file", path) => Ok(Pattern::WordsAndPath(vec![name, "file".to_owned()], PathGlob::parse(path)?)),
        ("header", origin) => {
            Ok(Pattern::Words(vec![name, "header".to_owned(), Url::parse(origin)?.origin()]))
        }
        _ => Err(shape()),
    }
}

fn name_glob(value: &str) -> Result<String, String> {
    if value.is_empty() {
        return Err("the value is empty".to_owned());
    }
    if let Some(found) = value.chars().find(|c| c.is_whitespace() || "/[]{}".contains(*c)) {
        return Err(format!("`{value}`: `{found}` has no place in a name"));
    }
    Ok(value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need(capability: &str, value: &str) -> Result<Need, String> {
        Need::new(capability.parse().unwrap(), value)
    }

    #[test]
    fn json_round_trip() {
        let text = r#"{"capability":"target.write","value":"/etc/motd"}"#;
        let parsed: Need = serde_json::from_str(text).unwrap();
        assert_eq!(parsed, need("target.write", "/etc/motd").unwrap());
        assert_eq!(serde_json::to_string(&parsed).unwrap(), text);
        let always: Need = serde_json::from_str(r#"{"capability":"log"}"#).unwrap();
        assert_eq!(always.to_string(), "log");
        let wrong = serde_json::from_str::<Need>(r#"{"capability":"target.wriet","value":"/"}"#).unwrap_err();
        assert!(wrong.to_string().contains("did you mean `target.write`?"), "{wrong}");
    }

    #[test]
    fn bad_values() {
        for (capability, value, said) in [
            ("target.write", "etc/motd", "target.write: `etc/motd` is not an absolute path"),
            ("service.set", "ssh.service", "service.set: `ssh.service` is not `enable|disable|mask UNIT`"),
            ("service.set", "start ssh.service", "service.set: `start` is not one of enable, disable, mask"),
            ("packages.install", "", "packages.install: the value is empty"),
            ("packages.install", "a b", "packages.install: `a b`: ` ` has no place in a name"),
            ("target.exec", "ls", "target.exec: `ls` is not an absolute path"),
            (
                "target.exec",
                "/bin/a ** b",
                "target.exec: `/bin/a ** b`: `**` (any further words) must come last",
            ),
            ("log", "x", "log: takes no value, got `x`"),
            ("target.write", "/a\u{1b}", "target.write: `/a\\u{1b}` contains control characters"),
        ] {
            assert_eq!(need(capability, value).unwrap_err(), said);
        }
    }

    #[test]
    fn coverage() {
        for (capability, value, words, expected) in [
            ("packages.install", "linux-image-*", vec!["linux-image-amd64"], true),
            ("packages.install", "curl", vec!["curl2"], false),
            ("service.set", "enable ssh*.service", vec!["enable", "sshd.service"], true),
            ("service.set", "enable ssh*.service", vec!["mask", "sshd.service"], false),
            ("target.exec", "/usr/bin/true", vec!["/usr/bin/true"], true),
            ("target.exec", "/usr/bin/true", vec!["/usr/bin/true", "x"], false),
            ("target.exec", "/usr/bin/* -q *", vec!["/usr/bin/grep", "-q", "a b/c"], true),
            ("target.exec", "/usr/sbin/sysctl **", vec!["/usr/sbin/sysctl", "-p", "x"], true),
            ("target.exec", "/usr/sbin/sysctl **", vec!["/usr/sbin/sysctl"], true),
            ("target.exec", "/usr/sbin/sysctl -p **", vec!["/usr/sbin/sysctl"], false),
        ] {
            let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
            let need = need(capability, value).unwrap();
            assert_eq!(need.covers(&words, Extent::Entry), expected, "{need} {words:?}");
        }
    }

    #[test]
    fn macro_lines_use_the_macro_words() {
        for (word, capability) in MACRO_WORDS {
            let value = match capability.value_kind() {
                ValueKind::Path | ValueKind::Argv => "/x".to_owned(),
                ValueKind::Class => "cron".to_owned(),
                ValueKind::Service => format!("{word} x.service"),
                ValueKind::Name | ValueKind::Variable | ValueKind::None => "DIB_X".to_owned(),
                ValueKind::Url => "https://x.example/a/ required".to_owned(),
                ValueKind::Cidr => "10.0.0.0/8".to_owned(),
                ValueKind::Secret => "key header https://x.example".to_owned(),
                ValueKind::Size => "1MiB".to_owned(),
                ValueKind::Mount => "tmpfs /x".to_owned(),
            };
            let line = Need::new(capability, &value).unwrap().as_macro_line();
            assert!(line.starts_with(&format!("{word} \"")), "{line}");
        }
    }
}
