//! The network of classic hooks whose cage lists origins: a network of nothing but a proxy, where each connection is decided by the policy
//! and recorded.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dibw_fetch::proxy::{Event, Gate, Limits, Target};
use dibw_plan::{Extra, Step};
use dibw_policy::{Checksum, Effective, Operation, Record, decide};

use crate::failure::Failure;
use crate::network::ProxiedNetwork;
use crate::run::Build;

/// Connections at a time of one hook.
const CONNECTIONS: usize = 64;
/// For a name, a connection, a request's first lines.
const START: Duration = Duration::from_secs(30);
/// A silent connection is closed after that.
const IDLE: Duration = Duration::from_secs(300);
/// Bytes that one hook may move, unless the policy says less.
const BYTES: u64 = 64 << 30;

/// The proxied network of one hook.
pub(crate) struct Proxied {
    network: ProxiedNetwork,
    judge: Arc<Judge>,
}

/// Decides, and remembers what was decided: the audit log belongs to another thread.
struct Judge {
    rights: Effective,
    phase: String,
    records: Mutex<Vec<Record>>,
}

impl Proxied {
    /// By which a sandbox joins it.
    pub fn namespace(&self) -> PathBuf {
        self.network.namespace().proc_path()
    }
}

impl Gate for Judge {
    fn allow(&self, target: &Target) -> Result<(), String> {
        let operation = Operation::Fetch {
            url: url_of(target),
            checksum: Checksum::None,
            addresses: target.addresses.clone(),
        };
        let decision = decide(&self.rights, &operation);
        let record = Record::new(&self.rights, &self.phase, &operation, &decision);
        self.records.lock().unwrap_or_else(PoisonError::into_inner).push(record.clone());
        if decision.is_allowed() { Ok(()) } else { Err(record.rule) }
    }

    fn log(&self, event: &Event) {
        tracing::debug!(?event, "proxy");
    }
}

/// What a connection is judged as. Of a tunnel no more is known than the host and the port; nearly always it is https.
fn url_of(target: &Target) -> String {
    if let Some(url) = &target.url {
        return url.to_string();
    }
    let host = match target.host.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        Ok(IpAddr::V4(_)) | Err(_) => target.host.clone(),
    };
    match target.port {
        443 => format!("https://{host}/"),
        port => format!("https://{host}:{port}/"),
    }
}

impl Build<'_> {
    /// The proxied network of a step's hook, if it is to have one.
    pub(crate) fn proxied(&self, step: &Step) -> Result<Option<Proxied>, Failure> {
        let cages = self.plan.rules.cages(step.element.as_deref());
        let rights = self.trial_rights(step).or_else(|| cages.and_then(|cages| cages.traffic.clone()));
        let Some(rights) = rights.filter(|_| step.extras.contains(&Extra::Proxy)) else { return Ok(None) };
        let phase = self.current.phase.clone();
        let judge = Arc::new(Judge { rights, phase, records: Mutex::default() });
        let bytes = self.plan.rules.resources.net_bytes.unwrap_or(BYTES);
        let limits = Limits { connections: CONNECTIONS, start: START, idle: IDLE, bytes };
        Ok(Some(Proxied { network: ProxiedNetwork::start(judge.clone(), limits)?, judge }))
    }

    /// Records where a hook went, and where it was not let.
    pub(crate) fn record_traffic(&self, proxied: Proxied) -> Result<(), Failure> {
        drop(proxied.network);
        let records =
            std::mem::take(&mut *proxied.judge.records.lock().unwrap_or_else(PoisonError::into_inner));
        records.into_iter().try_for_each(|record| self.record_tried(record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_is_judged_by_its_origin() {
        for (host, port, url) in [
            ("a.example", 443, "https://a.example/"),
            ("a.example", 8443, "https://a.example:8443/"),
            ("2001:db8::1", 443, "https://[2001:db8::1]/"),
        ] {
            let target = Target { host: host.to_owned(), port, addresses: Vec::new(), url: None };
            assert_eq!(url_of(&target), url);
        }
    }
}
