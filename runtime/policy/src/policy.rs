//! The rules in force for a build: layers of policy files. The site's files are the base; where there are none, the built-in policy is:
//! every need up to [`RISK_LIMIT`] is granted. A file of the command line narrows the base: both must agree.
//!
//! Must not know: where the files lie, how they are written ([`crate::file`]).
//! Callers: [`crate::effective`], [`crate::confinement`], [`crate::trust`], the plan, the engine (settings).

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::file::PolicyFile;
use crate::glob::word_matches;
use crate::grant::Grant;
use crate::need::Need;
use crate::resources::Resources;
use crate::settings::{Input, Repository, Secret};

/// Needs above this risk are not granted by the built-in policy, but on the command line only.
pub const RISK_LIMIT: u8 = 3;

/// Whether refusals stop a build or are only recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Refusals are refusals.
    #[default]
    Enforce,
    /// What the files would refuse is allowed and recorded. What no policy can allow, and what is under `never`, stays refused.
    Audit,
}

/// The rules in force for a build. The default is the built-in policy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {
    site: Option<Layer>,
    narrowing: Option<Layer>,
}

/// Policy files that count as one: their grants add up, their ceilings intersect.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    files: Vec<PolicyFile>,
}

/// A pattern and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// What it covers.
    pub need: Need,
    /// The policy file.
    pub file: String,
    /// Line in it, from 1.
    pub line: usize,
    /// Its place in the file, as in `ceiling.target.write[0]`.
    pub key: String,
}

/// What is wrong with a policy file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyFault {
    /// The file.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// One sentence.
    pub message: String,
    /// A way out.
    pub hint: Option<String>,
}

impl Policy {
    /// The policy of a site's files; without any, the built-in one.
    ///
    /// # Errors
    /// What is wrong between the files.
    pub fn of_site(files: Vec<PolicyFile>) -> Result<Self, Vec<PolicyFault>> {
        Ok(Policy { site: Layer::of(files)?, narrowing: None })
    }

    /// The same policy, narrowed by a file of the command line.
    ///
    /// # Errors
    /// What is wrong with the file beside the site's: what only a site may define.
    pub fn narrowed_by(mut self, file: PolicyFile) -> Result<Self, Vec<PolicyFault>> {
        if self.site.is_some() {
            let faults = file.site_only();
            if !faults.is_empty() {
                return Err(faults);
            }
        }
        self.narrowing = Layer::of(vec![file])?;
        Ok(self)
    }

    /// The layers that files make, base first. An operation must pass each.
    pub fn layers(&self) -> impl Iterator<Item = &Layer> {
        self.site.iter().chain(&self.narrowing)
    }

    /// Whether the base is the built-in policy.
    pub fn is_built_in(&self) -> bool {
        self.site.is_none()
    }

    /// The layer of the site's files.
    pub fn site(&self) -> Option<&Layer> {
        self.site.as_ref()
    }

    /// All files, base first.
    pub fn files(&self) -> impl Iterator<Item = &PolicyFile> {
        self.layers().flat_map(Layer::files)
    }

    /// What a refusal does: one file that enforces is enough.
    pub fn mode(&self) -> Mode {
        let modes: Vec<Mode> = self.files().map(|file| file.mode).collect();
        if modes.is_empty() || modes.contains(&Mode::Enforce) { Mode::Enforce } else { Mode::Audit }
    }

    /// What to call the policy in messages.
    pub fn label(&self) -> String {
        let labels: Vec<String> = self.layers().map(Layer::label).collect();
        match labels.as_slice() {
            [] => "the built-in policy".to_owned(),
            labels => labels.join(" and "),
        }
    }

    /// A SHA-256 over the texts of all files, hexadecimal: it goes into audit records and provenance.
    pub fn digest(&self) -> String {
        let digests: Vec<&str> = self.files().map(|file| file.digest.as_str()).collect();
        if digests.is_empty() {
            "built-in".to_owned()
        } else {
            crate::audit::sha256(digests.join(" ").as_bytes())
        }
    }

    /// Why grants of the command line do not count, and the line that the site would have to add; none when they do.
    pub fn refuse_grant(&self, grant: &Grant) -> Option<(String, String)> {
        let site = self.site.as_ref()?;
        let message = format!(
            "--grant {grant}: on this machine {} alone decides what elements are granted",
            site.label()
        );
        let values = crate::identity::quoted_list([grant.need.value()]);
        let hint = format!(
            "in grants of {}: - {{element: {{id: {}}}, allow: {{{}: {values}}}}}",
            site.first_file(),
            crate::identity::quoted(&grant.element),
            grant.need.capability()
        );
        Some((message, hint))
    }

    /// The tightest limits of all files.
    pub fn resources(&self) -> Resources {
        let sections = self.files().filter_map(|file| file.ceiling.as_ref());
        sections.fold(Resources::default(), |all, ceiling| all.tightest(ceiling.resources))
    }

    /// Files of the machine that elements may ask for by name.
    pub fn inputs(&self) -> BTreeMap<&str, &Input> {
        self.files().flat_map(|f| &f.settings.inputs).map(|(name, input)| (name.as_str(), input)).collect()
    }

    /// Where the secrets are that elements may use by name.
    pub fn secrets(&self) -> BTreeMap<&str, &Secret> {
        self.files().flat_map(|f| &f.settings.secrets).map(|(name, secret)| (name.as_str(), secret)).collect()
    }

    /// Package repositories that elements may add by id.
    pub fn repositories(&self) -> BTreeMap<&str, &Repository> {
        self.files().flat_map(|f| &f.settings.repositories).map(|(id, known)| (id.as_str(), known)).collect()
    }

    /// Where else the audit log is written, by each file that says so.
    pub fn audit_logs(&self) -> Vec<&str> {
        self.files().filter_map(|file| file.settings.audit_log.as_deref()).collect()
    }

    /// Whether `environment.d` may export a variable: every file with a list of exports must have it.
    pub fn exports(&self, variable: &str) -> bool {
        let lists = self.files().filter_map(|file| file.settings.environment_exports.as_ref());
        lists.into_iter().all(|globs| globs.iter().any(|glob| word_matches(glob, variable)))
    }

    /// Whether functions that `environment.d` exports are dropped.
    pub fn drops_functions(&self) -> bool {
        self.files().any(|file| file.settings.drop_functions)
    }

    /// From which exposure on `dibw policy check` fails: the least that a file says, 7.0 when none does.
    pub fn fail_on(&self) -> f64 {
        let least = self.files().filter_map(|file| file.settings.fail_on).reduce(f64::min);
        least.unwrap_or(crate::settings::FAIL_ON)
    }
}

impl Layer {
    /// # Errors
    /// Names that two files define, publishers that no file knows.
    fn of(files: Vec<PolicyFile>) -> Result<Option<Self>, Vec<PolicyFault>> {
        if files.is_empty() {
            return Ok(None);
        }
        let layer = Layer { files };
        let faults = layer.faults();
        if faults.is_empty() { Ok(Some(layer)) } else { Err(faults) }
    }

    /// Its files, in the order of their names.
    pub fn files(&self) -> &[PolicyFile] {
        &self.files
    }

    /// What to call it in messages: its files' names, the directory said once.
    pub fn label(&self) -> String {
        let names: Vec<&str> = self.files.iter().map(|file| file.file.as_str()).collect();
        let (first, rest) = names.split_first().expect("a layer has a file");
        let directory = first.rfind('/').map_or("", |at| &first[..=at]);
        let rest = rest.iter().map(|name| name.strip_prefix(directory).unwrap_or(name));
        std::iter::once(*first).chain(rest).collect::<Vec<_>>().join(", ")
    }

    /// The file that grants are added to where no other is better.
    pub fn first_file(&self) -> &str {
        &self.files.first().expect("a layer has a file").file
    }

    /// What grants may name as `publisher`.
    pub(crate) fn key_names(&self) -> Vec<&str> {
        let trusts = self.files.iter().filter_map(|file| file.trust.as_ref());
        trusts.flat_map(crate::trust::Trust::key_names).collect()
    }

    fn faults(&self) -> Vec<PolicyFault> {
        let mut faults = Vec::new();
        let keys = self.key_names();
        for file in &self.files {
            for grant in &file.grants {
                if let crate::identity::Pin::Publisher(name) = &grant.pin
                    && !keys.contains(&name.as_str())
                {
                    faults.push(PolicyFault {
                        file: file.file.clone(),
                        line: grant.line,
                        message: format!("publisher `{name}` is not a key of trust.elements"),
                        hint: Some(format!(
                            "in trust.elements.any_of: {{kind: key, name: {name}, key: PATH}}"
                        )),
                    });
                }
            }
        }
        let mut known: BTreeMap<(&str, &str), &str> = BTreeMap::new();
        for file in &self.files {
            for (section, name, line) in file.settings.names() {
                if let Some(first) = known.insert((section, name), &file.file) {
                    faults.push(PolicyFault {
                        file: file.file.clone(),
                        line,
                        message: format!("{section}.{name} is also in {first}"),
                        hint: Some("keep one of the two".to_owned()),
                    });
                }
            }
        }
        faults
    }
}

impl fmt::Display for PolicyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for PolicyFault {}

#[cfg(test)]
mod tests;
