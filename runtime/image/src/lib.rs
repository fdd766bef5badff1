//! Byte formats of disk images: partition tables, qcow2, tar streams, container images, compression, checksums, sparse copies.
//!
//! Owns the bytes and nothing else: everything works over plain files and `Read`/`Write`/`Seek`, needs no
//! privilege and runs no other program. Must not know about plans, elements, loops or mounts: geometry and
//! sizes arrive already decided. Called by the engine, which also decides names and places of the outputs.
//!
//! Everything here is deterministic: the same input gives the same bytes, whatever the number of threads.

#![forbid(unsafe_code)]

pub mod checksum;
pub mod compress;
pub mod container;
pub mod extents;
pub mod qcow2;
pub mod sparse;
pub mod table;
pub mod tar_stream;
mod workers;
