//! See `symple_fuzz::dot_env`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| symple_fuzz::dot_env::run(data));
