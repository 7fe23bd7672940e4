//! See `symple_fuzz::inflate`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| symple_fuzz::inflate::run(data));
