//! Classic inputs -> dibw's own model: element directories (as listings held in memory) and image files. Pure: no I/O. There is no second
//! way to build: what comes out of here is planned and executed like everything else. Called by the engine's catalogue and the command line.
#![forbid(unsafe_code)]

pub mod block_device;
pub mod classic;
pub mod images;
