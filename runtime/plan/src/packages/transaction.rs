//! Requests for packages, and the one transaction a phase's requests come to. Nothing is known here of package managers.
//! The planner collects requests; the engine resolves them when the phase's variables are known. Facts: compat/CONTRACT.md section 6.2.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::map::PackageMap;
use crate::fault::{Fault, FaultKind, Faults};
use crate::phase::Phase;

/// What is wanted of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Intent {
    /// It is in the image.
    Install,
    /// It is not.
    Remove,
    /// Nobody may remove it: it was installed for its own sake earlier in the phase.
    Keep,
}

/// One element's wish for one package in one phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageRequest {
    /// Who asks; none is the user (`-p`), whose names are not mapped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub element: Option<String>,
    /// The name the element uses.
    pub package: String,
    /// When.
    pub phase: Phase,
    /// What.
    pub intent: Intent,
    /// All of these hold, or the request does not count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub when: Vec<Condition>,
    /// Only when the element is installed this way (`DIB_INSTALLTYPE_<element>`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub install_type: Option<String>,
    /// Only with this `DIB_PYTHON_VERSION`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python_version: Option<String>,
}

/// A test of one variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// Name of the variable.
    pub variable: String,
    /// How.
    pub comparison: Comparison,
    /// With what.
    pub value: String,
}

/// How a variable is tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Comparison {
    Equal,
    Differs,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.comparison {
            Comparison::Equal => "=",
            Comparison::Differs => "!=",
        };
        write!(f, "{} {sign} {}", self.variable, self.value)
    }
}

impl PackageRequest {
    /// An unconditional request to install.
    pub fn install(element: Option<&str>, package: impl Into<String>, phase: Phase) -> Self {
        Self {
            element: element.map(str::to_owned),
            package: package.into(),
            phase,
            intent: Intent::Install,
            when: Vec::new(),
            install_type: None,
            python_version: None,
        }
    }

    fn applies(&self, env: &BTreeMap<String, String>) -> Result<bool, Faults> {
        let mut faults = Faults::default();
        let mut applies = true;
        for condition in &self.when {
            match env.get(&condition.variable) {
                None => faults.push(self.unset(condition)),
                Some(value) => {
                    applies &= (*value == condition.value) == (condition.comparison == Comparison::Equal);
                }
            }
        }
        if let Some(wanted) = &self.install_type {
            applies &= self.actual_install_type(env) == wanted;
        }
        if let Some(wanted) = &self.python_version {
            applies &= env.get("DIB_PYTHON_VERSION") == Some(wanted);
        }
        faults.or(applies)
    }

    fn actual_install_type<'a>(&self, env: &'a BTreeMap<String, String>) -> &'a str {
        let element = self.element.as_deref().unwrap_or_default();
        let suffix: String =
            element.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let own = env.get(&format!("DIB_INSTALLTYPE_{suffix}"));
        own.or_else(|| env.get("DIB_DEFAULT_INSTALLTYPE")).map_or("source", String::as_str)
    }

    fn unset(&self, condition: &Condition) -> Fault {
        let element = self.element.as_deref().unwrap_or("-p");
        let message = format!(
            "{element}: package-installs asks for `{}` when `{condition}`, and {} is not set in phase {}",
            self.package, condition.variable, self.phase
        );
        Fault::new(FaultKind::Element, message)
            .hint(format!("set it, or export it in an `environment.d` file of `{element}`"))
    }
}

/// What the package manager is to do. Sorted, without repetition; no package is in both lists.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// Names of the target's distribution.
    pub install: Vec<String>,
    /// Names of the target's distribution.
    pub remove: Vec<String>,
}

impl Transaction {
    /// True when there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.install.is_empty() && self.remove.is_empty()
    }
}

/// Whether these are the requests of a phase's last transaction, which takes out what was only needed to build. Components have been asked
/// for their packages by then.
pub fn is_removal(requests: &[PackageRequest]) -> bool {
    requests.iter().any(|request| request.intent == Intent::Remove)
}

/// The transaction that `requests` come to. `maps` are the elements' package maps; `env` is the phase's environment (`DISTRO_NAME`,
/// `DIB_RELEASE`, `DIB_INSTALLTYPE_*` and what conditions test). Who installs or keeps wins over who removes.
///
/// # Errors
/// A condition on a variable that is not set; a map without `DISTRO_NAME` to read it by.
pub fn resolve_transaction(
    requests: &[PackageRequest],
    maps: &BTreeMap<String, PackageMap>,
    env: &BTreeMap<String, String>,
) -> Result<Transaction, Faults> {
    let mut faults = Faults::default();
    let distro = env.get("DISTRO_NAME").map_or("", String::as_str);
    let release = env.get("DIB_RELEASE").map_or("", String::as_str);
    let (mut install, mut remove, mut keep) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut unreadable: BTreeSet<&str> = BTreeSet::new();
    for request in requests {
        if faults.take(request.applies(env)) != Some(true) {
            continue;
        }
        let map = request.element.as_ref().and_then(|element| maps.get(element));
        if map.is_some() && distro.is_empty() {
            unreadable.extend(request.element.as_deref());
        }
        let names = match map {
            Some(map) => map.names(&request.package, distro, release),
            None => request.package.split_whitespace().collect(),
        };
        match request.intent {
            Intent::Install => install.extend(names),
            Intent::Remove => remove.extend(names),
            Intent::Keep => keep.extend(names),
        }
    }
    for element in unreadable {
        let message = format!("{element}: its pkg-map can't be read: DISTRO_NAME is not set");
        faults.push(
            Fault::new(FaultKind::Element, message)
                .hint("the operating system element has to export DISTRO_NAME in `environment.d`"),
        );
    }
    let remove = remove.into_iter().filter(|name| !install.contains(name) && !keep.contains(name));
    faults.or(Transaction {
        remove: remove.map(str::to_owned).collect(),
        install: install.into_iter().map(str::to_owned).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::NamedText;

    fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn request(element: &str, package: &str, intent: Intent) -> PackageRequest {
        PackageRequest { intent, ..PackageRequest::install(Some(element), package, Phase::Install) }
    }

    #[test]
    fn requests_of_all_elements_become_one_sorted_transaction() {
        let map = r#"{"family": {"debian": {"ssh": "openssh-server openssh-client", "skipped": ""}}}"#;
        let map = PackageMap::parse(&NamedText { name: "m".into(), text: map.into() }).unwrap();
        let requests = [
            request("b", "vim", Intent::Install),
            request("a", "ssh", Intent::Install),
            request("a", "skipped", Intent::Install),
            request("b", "ssh", Intent::Install),
            request("c", "vim", Intent::Remove),
            request("c", "nano", Intent::Remove),
            request("c", "gcc", Intent::Remove),
            request("d", "gcc", Intent::Keep),
            PackageRequest::install(None, "vim", Phase::Install),
        ];
        let maps = BTreeMap::from([("a".to_owned(), map)]);
        let found = resolve_transaction(&requests, &maps, &env(&[("DISTRO_NAME", "debian")])).unwrap();
        assert_eq!(found.install, ["openssh-client", "openssh-server", "ssh", "vim"]);
        assert_eq!(found.remove, ["nano"]);
    }

    #[test]
    fn conditions_decide_when_the_variables_are_known() {
        let condition = |comparison| Condition { variable: "V".into(), comparison, value: "1".into() };
        let mut equal = request("a", "equal", Intent::Install);
        equal.when = vec![condition(Comparison::Equal)];
        let mut differs = request("a", "differs", Intent::Install);
        differs.when = vec![condition(Comparison::Differs)];
        let mut typed = request("my-app", "typed", Intent::Install);
        typed.install_type = Some("package".into());
        let mut python = request("a", "python", Intent::Install);
        python.python_version = Some("3".into());
        let requests = [equal, differs, typed, python];
        for (pairs, expected) in [
            (vec![("V", "1")], vec!["equal"]),
            (vec![("V", "2"), ("DIB_INSTALLTYPE_my_app", "package")], vec!["differs", "typed"]),
            (vec![("V", "1"), ("DIB_DEFAULT_INSTALLTYPE", "package")], vec!["equal", "typed"]),
            (vec![("V", "1"), ("DIB_PYTHON_VERSION", "3")], vec!["equal", "python"]),
        ] {
            let found = resolve_transaction(&requests, &BTreeMap::new(), &env(&pairs)).unwrap();
            assert_eq!(found.install, expected, "{pairs:?}");
        }
        let faults = resolve_transaction(&requests, &BTreeMap::new(), &env(&[])).unwrap_err();
        assert_eq!(
            faults.0[0].message,
            "a: package-installs asks for `equal` when `V = 1`, and V is not set in phase install"
        );
        assert_eq!(faults.0.len(), 2);
    }
}
