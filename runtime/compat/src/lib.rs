//! Classic inputs -> dibw's own model: element directories (as listings held in memory), image files and the command lines of
//! diskimage-builder. Pure: no I/O. There is no second way to build: what comes out of here is planned and executed like everything
//! else. Called by the engine's catalogue and the command line.
#![forbid(unsafe_code)]

pub mod block_device;
pub mod boot_files;
pub mod classic;
pub mod element_exports;
pub mod environment;
pub mod getopt;
pub mod image_create;
pub mod image_yaml;
pub mod images;
pub mod library;
pub mod lint;
pub mod shell_words;
