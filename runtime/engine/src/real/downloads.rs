//! Downloads of a real machine.

use std::fs::File;

use dibw_host::LentError;

use super::RealMachine;
use crate::downloads::{AllowHop, Downloads, Wanted};

impl Downloads for RealMachine {
    fn download(&mut self, wanted: &Wanted<'_>, _: &mut AllowHop<'_>) -> Result<File, LentError> {
        Err(LentError::Io(format!("{}: this machine has no way to download", wanted.url)))
    }
}
