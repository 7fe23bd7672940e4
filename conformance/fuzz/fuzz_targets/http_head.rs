//! See `symple_fuzz::http_head`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| symple_fuzz::http_head::run(data));
