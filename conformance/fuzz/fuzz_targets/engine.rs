//! See `symple_fuzz::engine`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| symple_fuzz::engine::run(data));
