//! How much a policy hands out, as a number: each right has a weight, and the sum becomes a score from 0 to 10, as systemd-analyze does
//! for services. Called by `check`.

use crate::capability::{Capability, ServiceAction};
use crate::confinement::{ClassicRule, Level};
use crate::hazard::covers_everything;
use crate::need::Need;
use crate::policy::Policy;
use crate::resources::Resources;

/// What one element, or the classic elements without a rule, leave exposed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposure {
    /// Who.
    pub element: String,
    /// What adds to it, the heaviest first.
    pub factors: Vec<Factor>,
}

/// One thing that adds to a score.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Factor {
    /// How much.
    pub weight: u32,
    /// What.
    pub what: String,
}

/// The score of a sum of weights: 10·(1 − e^(−sum/60)), so that many small rights add up but never pass 10.
pub fn score(sum: u32) -> f64 {
    10.0 * (1.0 - (-f64::from(sum) / 60.0).exp())
}

impl Exposure {
    /// From 0 to 10.
    pub fn score(&self) -> f64 {
        score(self.factors.iter().map(|factor| factor.weight).sum())
    }
}

/// Of every element that the policy names, the most exposed first.
pub(super) fn of(policy: &Policy) -> Vec<Exposure> {
    let mut all: Vec<Exposure> = Vec::new();
    for file in policy.files() {
        for grant in &file.grants {
            let factors = grant.allow.iter().map(|rule| of_need(&rule.need));
            add(&mut all, grant.element.clone(), factors.collect());
        }
        for rule in &file.classic.allow {
            add(&mut all, format!("classic {} ({})", rule.element, rule.level), vec![of_classic(rule)]);
        }
    }
    let default = policy.files().filter_map(|file| file.classic.default).map(|(level, _)| level).min();
    let (weight, what) = of_level(default.unwrap_or(Level::Confined));
    let what = format!("{what}, by default");
    add(&mut all, "classic elements without a rule".to_owned(), vec![Factor { weight, what }]);
    for exposure in &mut all {
        with_combinations(exposure);
        if policy.resources() == Resources::default() && exposure.factors.iter().any(|f| f.weight > 0) {
            exposure.factors.push(Factor { weight: 5, what: "no limit of resources".to_owned() });
        }
        exposure.factors.sort_by_key(|factor| std::cmp::Reverse(factor.weight));
    }
    all.sort_by(|a, b| b.score().total_cmp(&a.score()).then_with(|| a.element.cmp(&b.element)));
    all
}

fn add(all: &mut Vec<Exposure>, element: String, factors: Vec<Factor>) {
    match all.iter_mut().find(|known| known.element == element) {
        Some(known) => known.factors.extend(factors),
        None => all.push(Exposure { element, factors }),
    }
}

/// A secret and the network weigh more than both alone.
fn with_combinations(exposure: &mut Exposure) {
    let has = |start: &str| exposure.factors.iter().any(|factor| factor.what.starts_with(start));
    if has("uses secrets") && has("downloads") {
        exposure.factors.push(Factor { weight: 40, what: "secrets and downloads together".to_owned() });
    }
}

fn of_classic(rule: &ClassicRule) -> Factor {
    let (weight, what) = of_level(rule.level);
    match (rule.level, &rule.net) {
        (Level::Host, _) => Factor { weight, what: format!("{what} until {}", rule.expires) },
        (Level::Strict, Some(_)) => Factor { weight: weight + 5, what: format!("{what}, with a network") },
        (Level::Strict, None) | (Level::Deny | Level::Confined, _) => {
            Factor { weight, what: what.to_owned() }
        }
    }
}

fn of_level(level: Level) -> (u32, &'static str) {
    match level {
        Level::Deny => (0, "runs no shell"),
        Level::Strict => (30, "runs shell as root in the target"),
        Level::Confined => (60, "runs shell as root beside the host, read-only"),
        Level::Host => (100, "HOST ROOT"),
    }
}

fn of_need(need: &Need) -> Factor {
    let all = covers_everything(need);
    let value = crate::subject::escape(need.value());
    let (weight, what) = match need.capability() {
        Capability::Log | Capability::Config | Capability::Facts => (0, "logs".to_owned()),
        Capability::TargetRead => (1, format!("reads {value}")),
        Capability::TargetWrite if all => (15, "writes anywhere".to_owned()),
        Capability::TargetWrite => (2, format!("writes {value}")),
        Capability::TargetWritePrivileged if all => (60, "writes every class of places".to_owned()),
        Capability::TargetWritePrivileged => (20, format!("writes class {value}")),
        Capability::TargetExec if all => (25, "runs any program in the target".to_owned()),
        Capability::TargetExec => (10, format!("runs {value}")),
        Capability::PackagesInstall | Capability::PackagesRemove if all => (10, "any package".to_owned()),
        Capability::PackagesInstall => (5, format!("installs {value}")),
        Capability::PackagesRemove => (3, format!("removes {value}")),
        Capability::ServiceSet if value.starts_with(ServiceAction::Mask.name()) => {
            (5, format!("may {value}"))
        }
        Capability::ServiceSet => (2, format!("may {value}")),
        Capability::UserAdd => (5, format!("makes accounts {value}")),
        Capability::UserPrivileged => (20, format!("makes accounts of {value}")),
        Capability::HostEnv => (if need.risk() > 3 { 10 } else { 1 }, format!("reads variables {value}")),
        Capability::EnvSet => (2, format!("sets variables {value}")),
        Capability::PackagesRepoAdd => (30, format!("adds repositories {value}")),
        Capability::NetFetch if value.ends_with(" none") => (30, format!("downloads {value}")),
        Capability::NetFetch if value.ends_with(" first-use") => (10, format!("downloads {value}")),
        Capability::NetFetch => (5, format!("downloads {value}")),
        Capability::NetAddress => (15, format!("reaches {value}")),
        Capability::HostInput => (15, format!("reads the site's file {value}")),
        Capability::SecretUse => (15, format!("uses secrets {value}")),
        Capability::CacheRw => (0, format!("keeps {value}")),
        Capability::BlockdevContribute => (3, format!("shapes the disk: {value}")),
        Capability::MountRequest => (2, format!("mounts {value}")),
        Capability::KernelCmdline => (5, format!("kernel arguments {value}")),
        Capability::KernelCmdlineUnsafe => (20, format!("weakening kernel arguments {value}")),
        Capability::KernelModules => (3, format!("kernel modules {value}")),
        Capability::Sysctl => (3, format!("kernel settings {value}")),
        Capability::BootloaderInstall => (10, format!("boot loader {value}")),
        Capability::ImageEmit => (0, format!("writes {value}")),
    };
    Factor { weight, what }
}
