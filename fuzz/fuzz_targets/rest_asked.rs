#![no_main]

#[path = "../oracle/rest_asked.rs"]
mod oracle;

libfuzzer_sys::fuzz_target!(|data: &[u8]| oracle::check(data));
