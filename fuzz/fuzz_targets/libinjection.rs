#![no_main]

#[path = "../oracle/libinjection.rs"]
mod oracle;

libfuzzer_sys::fuzz_target!(|data: &[u8]| oracle::check(data));
