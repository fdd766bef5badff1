//! support

pub mod planning;
pub mod sandbox_target;
