//! What the policy settles for a build beside the rights of typed elements, as data of the plan: how classic hooks are caged, which
//! variables pass, which limits hold. Called by the planner, which makes it, and the engine, which carries it out.

use std::collections::BTreeMap;

use dibw_policy::confinement::Cage;
use dibw_policy::resources::Resources;
use dibw_policy::{Effective, Identity, Level, Mode, Policy, confinement_of};
use serde::{Deserialize, Serialize};

use crate::fault::{Fault, FaultKind, Faults};
use crate::phase::Side;

/// What the policy settles.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    /// The policy's name in messages.
    pub policy: String,
    /// SHA-256 over it; `built-in` without files.
    pub digest: String,
    /// What its refusals do.
    pub mode: Mode,
    /// Limits of the build.
    pub resources: Resources,
    /// Lists of globs: `environment.d` may export what every list has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exports: Vec<Vec<String>>,
    /// Functions that `environment.d` exports are dropped.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drop_functions: bool,
    /// Files that audit records are also written to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audit_logs: Vec<String>,
    /// By element.
    pub cages: BTreeMap<String, Cages>,
}

/// How the hooks of a classic element are caged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cages {
    /// Those on the building machine.
    pub outside: Cage,
    /// Those in the target.
    pub inside: Cage,
    /// What their connections are judged by, where the policy lists origins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Effective>,
}

/// The key of [`Rules::cages`] for hooks that no element owns: earlier hooks made them.
pub const UNOWNED: &str = "";

/// The network of a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// None.
    Nothing,
    /// The origins of its cage, through dibw.
    Origins,
    /// The machine's.
    Everything,
}

impl Rules {
    /// What `policy` says about elements that are these.
    ///
    /// # Errors
    /// A list of origins that is none.
    pub fn of(policy: &Policy, elements: impl IntoIterator<Item = Identity>) -> Result<Self, Faults> {
        let cages = |identity: &Identity| -> Result<Cages, String> {
            let outside = confinement_of(identity, dibw_policy::Side::Outside, policy);
            let inside = confinement_of(identity, dibw_policy::Side::Inside, policy);
            let traffic = Effective::of_traffic(identity, &outside, policy)?;
            Ok(Cages { outside, inside, traffic })
        };
        let unowned = Identity::named(UNOWNED);
        let all = elements.into_iter().chain([unowned]);
        let all = all.map(|identity| Ok((identity.id.clone(), cages(&identity)?)));
        let cages =
            all.collect::<Result<_, String>>().map_err(|wrong| Fault::new(FaultKind::Config, wrong))?;
        Ok(Self {
            policy: policy.label(),
            digest: policy.digest(),
            mode: policy.mode(),
            resources: policy.resources(),
            exports: policy.files().filter_map(|file| file.settings.environment_exports.clone()).collect(),
            drop_functions: policy.drops_functions(),
            audit_logs: policy.audit_logs().into_iter().map(str::to_owned).collect(),
            cages,
        })
    }

    /// The cages of an element's hooks; those of nobody's hooks for an element that has no hooks by the plan.
    pub fn cages(&self, element: Option<&str>) -> Option<&Cages> {
        element.and_then(|name| self.cages.get(name)).or_else(|| self.cages.get(UNOWNED))
    }
}

impl Cages {
    /// That of one side.
    pub fn of(&self, side: Side) -> &Cage {
        match side {
            Side::Outside => &self.outside,
            Side::Inside => &self.inside,
        }
    }

    /// The network that hooks have while a build is online. A policy that asks for `strict` means it on both sides.
    pub fn reach(&self) -> Reach {
        match (&self.outside.net, self.outside.level) {
            (Some(_), _) => Reach::Origins,
            (None, Level::Deny | Level::Strict) => Reach::Nothing,
            (None, Level::Confined | Level::Host) => Reach::Everything,
        }
    }
}
