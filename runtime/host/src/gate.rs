//! The only way from a guest's request to the machine: count it, decide it, record it, and only then act.
//!
//! Callers: every file of [`crate::capabilities`]. Nothing else touches `lent` for an effect.

use std::collections::BTreeMap;
use std::time::Duration;

use dibw_policy::{Decision, Denial, Effective, Operation, Record, decide, path};
use send_wrapper::SendWrapper;

use crate::bindings::dibw::element::types::{Denial as WitDenial, Error, ExecFailure};
use crate::failure::{Frame, PanicNote};
use crate::lent::{Follow, Lent, LentError};
use crate::limits::{GuestClock, Limit, Limiter, Limits};
use crate::wasi::Wasi;

/// All that a store knows about the hook it runs.
pub(crate) struct State {
    pub(crate) phase: String,
    pub(crate) config: String,
    pub(crate) facts: BTreeMap<String, String>,
    pub(crate) effective: Effective,
    /// WASI wants a state that could go to another thread; a hook never does.
    pub(crate) lent: SendWrapper<Box<dyn Lent>>,
    pub(crate) limits: Limits,
    pub(crate) limiter: Limiter,
    pub(crate) clock: GuestClock,
    pub(crate) calls: u64,
    pub(crate) log_bytes: usize,
    /// Mounts that the hook asked for.
    pub(crate) mounts: usize,
    /// Settings for the kernel that the hook asked for.
    pub(crate) settings: usize,
    pub(crate) panic: Option<PanicNote>,
    pub(crate) denials: Vec<Denial>,
    pub(crate) last_error: Option<LastError>,
    /// Only for components that import it, and only while they run.
    pub(crate) wasi: Option<Wasi>,
}

/// The last error a host function gave to the guest: when the guest returns it, the guest's line is known.
pub(crate) struct LastError {
    pub(crate) error: Error,
    /// Filled in by the call hook on the way back into the guest.
    pub(crate) frames: Option<Vec<Frame>>,
}

/// Why a request was not carried out.
pub(crate) enum Halt {
    /// The guest is told and goes on.
    Guest(Error),
    /// The hook ends here.
    Trap(wasmtime::Error),
}

impl From<LentError> for Halt {
    fn from(error: LentError) -> Self {
        Halt::Guest(match error {
            LentError::NotFound(what) => Error::NotFound(what),
            LentError::Invalid(what) => Error::Invalid(what),
            LentError::Io(what) => Error::Io(what),
            LentError::Exec { argv, code, stderr_tail } => {
                Error::Exec(ExecFailure { argv, code, stderr_tail })
            }
            LentError::Limit(what) => Error::Limit(what),
            LentError::Fatal(what) => return Halt::Trap(wasmtime::Error::new(LentError::Fatal(what))),
        })
    }
}

/// What a host function of the contract returns.
pub(crate) type Answer<T> = wasmtime::Result<Result<T, Error>>;

impl State {
    /// Runs one host function: counts the call, and remembers the error it gives to the guest.
    pub(crate) fn answer<T>(&mut self, work: impl FnOnce(&mut State) -> Result<T, Halt>) -> Answer<T> {
        self.count_call()?;
        match work(self) {
            Ok(value) => Ok(Ok(value)),
            Err(Halt::Trap(error)) => Err(error),
            Err(Halt::Guest(error)) => {
                self.last_error = Some(LastError { error: error.clone(), frames: None });
                Ok(Err(error))
            }
        }
    }

    /// Counts a call of a host function.
    pub(crate) fn count_call(&mut self) -> wasmtime::Result<()> {
        self.calls += 1;
        if self.calls > self.limits.host_calls {
            return Err(wasmtime::Error::new(Limit::Calls(self.limits.host_calls)));
        }
        if self.time_left().is_zero() {
            return Err(wasmtime::Error::new(Limit::HostTime(self.limits.host_time)));
        }
        Ok(())
    }

    /// How long host functions may still take.
    pub(crate) fn time_left(&self) -> Duration {
        self.limits.host_time.saturating_sub(self.clock.hosted())
    }

    /// Asks the policy about one operation and records the answer.
    pub(crate) fn permit(&mut self, operation: &Operation) -> Result<(), Halt> {
        let decision = decide(&self.effective, operation);
        self.lent
            .audit(Record::new(&self.effective, &self.phase, operation, &decision))
            .map_err(unrecorded)?;
        match decision {
            Decision::Allow { .. } => Ok(()),
            Decision::WouldDeny(denial) => {
                tracing::warn!(
                    element = self.effective.element(),
                    "policy in audit mode would refuse: {denial}"
                );
                Ok(())
            }
            Decision::Malformed { message } => Err(Halt::Guest(Error::Invalid(message))),
            Decision::Deny(denial) => Err(self.refuse(denial)),
        }
    }

    /// Tells the guest of a refusal, and remembers it for the case that the guest gives up over it.
    pub(crate) fn refuse(&mut self, denial: Denial) -> Halt {
        let told = WitDenial {
            capability: denial.capability.to_string(),
            subject: denial.subject.clone(),
            rule: denial.rule.clone(),
        };
        self.denials.push(denial);
        Halt::Guest(Error::Denied(told))
    }

    /// Asks for an operation on a path twice: as it is spelled, and where it really lands. Both must be allowed,
    /// so that a link planted in the target widens nobody's rights. Returns the one spelling to act on.
    pub(crate) fn permit_path(
        &mut self,
        spelled: &str,
        follow: Follow,
        operation: impl Fn(String) -> Operation,
    ) -> Result<String, Halt> {
        self.permit(&operation(spelled.to_owned()))?;
        let spelled = path::normalise(spelled).map_err(|wrong| Halt::Guest(Error::Invalid(wrong)))?;
        let landed = self.lent.resolve(&spelled, follow)?;
        if landed != spelled {
            self.permit(&operation(landed.clone()))?;
        }
        Ok(landed)
    }
}

/// Nothing goes on unrecorded, whatever kind of error the log had.
fn unrecorded(error: LentError) -> Halt {
    Halt::Trap(wasmtime::Error::new(LentError::Fatal(format!("the audit record cannot be written: {error}"))))
}
