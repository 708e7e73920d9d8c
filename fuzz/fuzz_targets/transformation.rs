#![no_main]

#[path = "../oracle/transformation.rs"]
mod oracle;

libfuzzer_sys::fuzz_target!(|data: &[u8]| oracle::check(data));
