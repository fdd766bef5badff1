//! What tests of several areas share. Each module says what it is; none asserts anything about the product.

pub mod compare;
pub mod component;
pub mod dibw;
pub mod download;
pub mod golden;
pub mod layers;
pub mod library;
pub mod planning;
pub mod plugin;
pub mod proxied;
pub mod recordings;
pub mod sandbox_target;
pub mod syscall_probe;
pub mod web;
