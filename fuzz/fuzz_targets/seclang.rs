#![no_main]

#[path = "../oracle/seclang.rs"]
mod oracle;

libfuzzer_sys::fuzz_target!(|data: &[u8]| oracle::check(data));
