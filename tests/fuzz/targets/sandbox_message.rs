//! The lines between the engine and the processes it starts: any line is a message or none, and a message survives being written again.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &str| {
    dibw_sys::fuzzing::message(line);
});
