//! `dibw.lock`: which elements a site has looked at: their digests, signers and needs. A build with a lock refuses others, and says
//! which needs grew.
//!
//! Must not know: files, the plan. Callers: `dibw lock`, the build's check.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::identity::{Identity, short};
use crate::need::Need;

/// The format's version.
const VERSION: u32 = 1;
/// Longest lock that is read, in bytes.
const MAX_BYTES: usize = 16 << 20;

/// A whole lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// The format's version.
    pub version: u32,
    /// By name.
    pub elements: BTreeMap<String, Locked>,
}

/// One element as it was accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Locked {
    /// SHA-256 of its component, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// SHA-256 over its directory, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<String>,
    /// What it asks for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Need>,
    /// Who signed it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signers: Vec<String>,
}

/// An element as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Present {
    /// Who it is.
    pub identity: Identity,
    /// What it asks for; nothing for a classic element.
    pub needs: Vec<Need>,
}

/// How an element differs from its lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockChange {
    /// The element.
    pub element: String,
    /// What differs, one sentence each.
    pub what: Vec<String>,
    /// Needs that nothing in the lock covers.
    pub widened: Vec<Need>,
    /// Needs that are gone.
    pub narrowed: Vec<Need>,
}

impl Default for Lock {
    fn default() -> Self {
        Lock { version: VERSION, elements: BTreeMap::new() }
    }
}

impl Lock {
    /// Reads a lock.
    ///
    /// # Errors
    /// It is too long, not JSON of this shape, or of another version.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_BYTES {
            return Err(format!("the lock has {} bytes, more than {MAX_BYTES}", text.len()));
        }
        let lock: Lock = serde_json::from_str(text).map_err(|error| format!("not a lock: {error}"))?;
        if lock.version != VERSION {
            return Err(format!("version {} of the lock is not known", lock.version));
        }
        Ok(lock)
    }

    /// The text of the file: sorted, so that a change of it reads well.
    pub fn to_text(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a lock is plain data");
        text.push('\n');
        text
    }

    /// Takes elements in as they are.
    pub fn accept(&mut self, elements: &[Present]) {
        for present in elements {
            self.elements.insert(present.identity.id.clone(), Locked::of(present));
        }
    }
}

impl Locked {
    fn of(present: &Present) -> Self {
        let mut needs = present.needs.clone();
        needs.sort();
        needs.dedup();
        let Identity { digest, tree, signers, .. } = present.identity.clone();
        Locked { digest, tree, needs, signers }
    }
}

/// How elements differ from the lock: nothing, when every one of them was accepted as it is.
pub fn check_lock(elements: &[Present], lock: &Lock) -> Vec<LockChange> {
    elements.iter().filter_map(|present| change(present, lock.elements.get(&present.identity.id))).collect()
}

fn change(present: &Present, locked: Option<&Locked>) -> Option<LockChange> {
    let now = Locked::of(present);
    let before = locked.cloned().unwrap_or_default();
    if locked.is_some() && before == now {
        return None;
    }
    let mut what = Vec::new();
    if locked.is_none() {
        what.push("is not in the lock".to_owned());
    } else {
        what.extend(differs("component", before.digest.as_deref(), now.digest.as_deref()));
        what.extend(differs("directory", before.tree.as_deref(), now.tree.as_deref()));
        let lost: Vec<&str> =
            before.signers.iter().filter(|s| !now.signers.contains(s)).map(String::as_str).collect();
        if !lost.is_empty() {
            what.push(format!("is no longer signed by {}", lost.join(", ")));
        }
        let new: Vec<&str> =
            now.signers.iter().filter(|s| !before.signers.contains(s)).map(String::as_str).collect();
        if !new.is_empty() {
            what.push(format!("is now signed by {}", new.join(", ")));
        }
    }
    let beyond = |these: &[Need], those: &[Need]| -> Vec<Need> {
        these.iter().filter(|need| !those.iter().any(|other| other.contains(need))).cloned().collect()
    };
    let (widened, narrowed) = (beyond(&now.needs, &before.needs), beyond(&before.needs, &now.needs));
    Some(LockChange { element: present.identity.id.clone(), what, widened, narrowed })
}

fn differs(word: &str, before: Option<&str>, now: Option<&str>) -> Option<String> {
    if before == now {
        return None;
    }
    let shown = |digest: Option<&str>| digest.map_or_else(|| "none".to_owned(), short);
    Some(format!("{word} was {}, is {}", shown(before), shown(now)))
}

impl fmt::Display for LockChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what =
            if self.what.is_empty() { "asks for other things".to_owned() } else { self.what.join(", ") };
        write!(f, "{}: {what}", crate::subject::escape(&self.element))?;
        for need in &self.widened {
            write!(f, "\n  WIDENED  {need}  (risk {})", need.risk())?;
        }
        for need in &self.narrowed {
            write!(f, "\n  narrowed {need}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn present(digest: &str, needs: &[&str]) -> Present {
        let need = |text: &&str| {
            let (capability, value) = text.split_once(' ').unwrap();
            Need::new(capability.parse().unwrap(), value).unwrap()
        };
        let identity = Identity { digest: Some(digest.repeat(64)), ..Identity::named("motd") };
        Present { identity, needs: needs.iter().map(need).collect() }
    }

    #[test]
    fn a_lock_is_kept_and_read_back() {
        let mut lock = Lock::default();
        let motd = present("a", &["target.write /etc/motd", "packages.install figlet"]);
        lock.accept(std::slice::from_ref(&motd));
        assert_eq!(Lock::parse(&lock.to_text()), Ok(lock.clone()));
        assert_eq!(check_lock(&[motd], &lock), vec![]);
        for text in ["", "{}", r#"{"version":2,"elements":{}}"#, r#"{"version":1,"elements":{},"x":1}"#] {
            assert!(Lock::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_changed_is_said() {
        let mut lock = Lock::default();
        assert_eq!(
            check_lock(&[present("a", &["target.write /etc/**"])], &lock)[0].to_string(),
            "motd: is not in the lock\n  WIDENED  target.write /etc/**  (risk 2)"
        );
        lock.accept(&[present("a", &["target.write /etc/**", "packages.install figlet"])]);
        let changes =
            check_lock(&[present("b", &["target.write /etc/motd", "target.exec /bin/sh **"])], &lock);
        assert_eq!(
            changes[0].to_string(),
            "motd: component was sha256:aaaaaaaaaaaa.., is sha256:bbbbbbbbbbbb..\n  WIDENED  target.exec /bin/sh **  (risk 3)\n  narrowed target.write /etc/**\n  narrowed packages.install figlet"
        );
        let mut signed = present("a", &["target.write /etc/**", "packages.install figlet"]);
        signed.identity.signers = vec!["team".to_owned()];
        assert_eq!(check_lock(&[signed.clone()], &lock)[0].what, ["is now signed by team"]);
        lock.accept(&[signed.clone()]);
        signed.identity.signers = Vec::new();
        assert_eq!(check_lock(&[signed], &lock)[0].what, ["is no longer signed by team"]);
    }
}
