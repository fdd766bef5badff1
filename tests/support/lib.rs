//! What tests of several areas share. Each module says what it is; none asserts anything about the product.

pub mod compare;
pub mod dibw;
pub mod golden;
pub mod planning;
pub mod plugin;
pub mod sandbox_target;
