#![no_main]

#[path = "../../crates/fusebox-waf/src/decode.rs"]
mod decode;
#[path = "../oracle/content_coding.rs"]
mod oracle;

libfuzzer_sys::fuzz_target!(|data: &[u8]| oracle::check(data));
