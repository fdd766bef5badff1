//! What would make a refusal go away: lines of a manifest, of the command line, or of a policy file, ready to be pasted.
//!
//! Callers: [`crate::effective`] makes them, [`crate::decide()`] and `dibw policy explain` print them.

use std::fmt;

use crate::capability::Capability;
use crate::explanation::Answer;
use crate::identity::{Identity, quoted_list};
use crate::need::Need;
use crate::subject::escape;

/// One thing to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fix {
    /// A line of the element's `needs!`.
    Need {
        /// The line.
        line: String,
    },
    /// An argument of the command line.
    CommandLine {
        /// The value of `--grant`.
        grant: String,
    },
    /// Values for a capability in a ceiling, or in a grant that there is.
    Values {
        /// Where.
        at: Target,
        /// What is there.
        existing: Vec<String>,
        /// What is missing.
        add: Vec<String>,
    },
    /// One more grant.
    NewGrant {
        /// Where.
        at: Target,
        /// The element, in YAML.
        element: String,
        /// Capabilities with values.
        allow: Vec<(Capability, Vec<String>)>,
    },
    /// Another digest for a grant that there is.
    Pin {
        /// Where.
        at: Target,
        /// The element, in YAML.
        element: String,
    },
}

/// A place in a policy file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The file.
    pub file: String,
    /// A line that it is near to, from 1; 0 where there is none yet.
    pub line: usize,
    /// The place, as in `grants[0].allow.target.write`.
    pub key: String,
}

impl Fix {
    /// A need for the manifest.
    pub(crate) fn need(capability: Capability, value: &str) -> Self {
        let written = Need::new(capability, value).map(|need| need.as_macro_line());
        Fix::Need { line: written.unwrap_or_else(|_| format!("{capability} {}", escape(value))) }
    }

    /// One more value in a list.
    pub(crate) fn values(file: &str, line: usize, key: String, existing: Vec<String>, value: &str) -> Self {
        let at = Target { file: file.to_owned(), line, key };
        Fix::Values { at, existing, add: vec![value.to_owned()] }
    }

    /// One more grant at the end of a file's grants.
    pub(crate) fn new_grant(
        file: &str,
        index: usize,
        to: &Identity,
        capability: Capability,
        value: &str,
    ) -> Self {
        let at = Target { file: file.to_owned(), line: 0, key: format!("grants[{index}]") };
        Fix::NewGrant { at, element: to.as_grantee(), allow: vec![(capability, vec![value.to_owned()])] }
    }

    /// A grant tied to what is there now.
    pub(crate) fn pin(file: &str, line: usize, index: usize, to: &Identity) -> Self {
        let at = Target { file: file.to_owned(), line, key: format!("grants[{index}].element") };
        Fix::Pin { at, element: to.as_grantee() }
    }

    /// The place and the YAML that belongs there, for fixes of policy files.
    pub fn as_yaml(&self) -> Option<(&Target, String)> {
        match self {
            Fix::Need { .. } | Fix::CommandLine { .. } => None,
            Fix::Values { at, existing, add } => {
                Some((at, quoted_list(existing.iter().chain(add).map(String::as_str))))
            }
            Fix::NewGrant { at, element, allow } => {
                let rights = allow.iter().map(|(capability, values)| {
                    format!("{capability}: {}", quoted_list(values.iter().map(String::as_str)))
                });
                let rights = rights.collect::<Vec<_>>().join(", ");
                Some((at, format!("{{element: {element}, allow: {{{rights}}}}}")))
            }
            Fix::Pin { at, element } => Some((at, element.clone())),
        }
    }

    /// Takes what another fix for the same place adds; false when it is for another place.
    fn absorb(&mut self, other: &Fix) -> bool {
        match (self, other) {
            (Fix::Values { at, add, .. }, Fix::Values { at: place, add: more, .. }) if at == place => {
                add_missing(add, more);
                true
            }
            (Fix::NewGrant { at, allow, .. }, Fix::NewGrant { at: place, allow: more, .. })
                if at == place =>
            {
                for (capability, values) in more {
                    match allow.iter_mut().find(|(known, _)| known == capability) {
                        Some((_, known)) => add_missing(known, values),
                        None => allow.push((*capability, values.clone())),
                    }
                }
                true
            }
            (this, that) => this == that,
        }
    }
}

fn add_missing(known: &mut Vec<String>, more: &[String]) {
    let new: Vec<String> = more.iter().filter(|value| !known.contains(value)).cloned().collect();
    known.extend(new);
}

/// What would mend all these refusals; nothing when one of them can't be: what `never` holds, or a name that is a pattern.
pub(crate) fn of_answers<'a>(refusals: impl IntoIterator<Item = &'a Answer>) -> Vec<Fix> {
    let refusals: Vec<&Answer> = refusals.into_iter().collect();
    let mendable = refusals.iter().all(|answer| !answer.fixes.is_empty());
    if mendable { merged(refusals.iter().flat_map(|answer| &answer.fixes)) } else { Vec::new() }
}

/// The same fixes, with one for each place.
fn merged<'a>(fixes: impl IntoIterator<Item = &'a Fix>) -> Vec<Fix> {
    let mut all: Vec<Fix> = Vec::new();
    for fix in fixes {
        if !all.iter_mut().any(|known| known.absorb(fix)) {
            all.push(fix.clone());
        }
    }
    all
}

impl fmt::Display for Fix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fix::Need { line } => write!(f, "in the element's needs!: {line}"),
            Fix::CommandLine { grant } => write!(f, "on the command line: --grant '{grant}'"),
            Fix::Values { .. } | Fix::NewGrant { .. } | Fix::Pin { .. } => {
                let (at, yaml) = self.as_yaml().expect("these have one");
                write!(f, "in {}: {}: {yaml}", at.file, at.key)
            }
        }
    }
}
