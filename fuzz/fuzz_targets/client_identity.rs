#![no_main]

#[path = "../oracle/client_identity.rs"]
mod oracle;

libfuzzer_sys::fuzz_target!(|data: &[u8]| oracle::check(data));
