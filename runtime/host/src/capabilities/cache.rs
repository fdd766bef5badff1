//! `cache`: bytes kept from build to build. Whose they are is the engine's to know; how many they may be is decided here.

use dibw_policy::Operation;
use dibw_policy::subject::escape;

use crate::bindings::dibw::element::cache::Host;
use crate::bindings::dibw::element::types::Error;
use crate::gate::{Answer, Halt, State};
use crate::limits::within;

/// Longest key, in bytes.
const LONGEST_KEY: usize = 256;

impl Host for State {
    fn get(&mut self, key: String) -> Answer<Option<Vec<u8>>> {
        self.answer(|state| {
            state.permit(&Operation::UseCache { bytes: 0 })?;
            check_key(&key)?;
            let found = state.lent.cached(&key)?;
            let most = state.limits.file_bytes;
            Ok(found.filter(|bytes| bytes.len() <= most))
        })
    }

    fn put(&mut self, key: String, bytes: Vec<u8>) -> Answer<()> {
        self.answer(|state| {
            state.permit(&Operation::UseCache { bytes: bytes.len() as u64 })?;
            check_key(&key)?;
            within("a cache entry", bytes.len(), state.limits.file_bytes)?;
            let whole = state.lent.cache_size_with(&key, bytes.len() as u64)?;
            if whole != bytes.len() as u64 {
                state.permit(&Operation::UseCache { bytes: whole })?;
            }
            Ok(state.lent.cache(&key, &bytes)?)
        })
    }
}

fn check_key(key: &str) -> Result<(), Halt> {
    if key.is_empty() || key.len() > LONGEST_KEY || key.chars().any(char::is_control) {
        let why = format!(
            "`{}` is not a key of a cache: 1 to {LONGEST_KEY} bytes without control characters",
            escape(key)
        );
        return Err(Halt::Guest(Error::Invalid(why)));
    }
    Ok(())
}
