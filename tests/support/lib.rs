//! What tests of several areas share. Each module says what it is; none asserts anything about the product.

pub mod dibw;
pub mod planning;
pub mod sandbox_target;
