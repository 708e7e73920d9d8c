#![no_main]

#[path = "../oracle/body.rs"]
mod oracle;

use fusebox_seclang::body::BodyKind;

libfuzzer_sys::fuzz_target!(|data: &[u8]| oracle::check(BodyKind::UrlEncoded, data));
