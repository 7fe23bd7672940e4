//! See `symple_fuzz::view`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| symple_fuzz::view::run(data));
