//! What a refusal looks like on the wire, beyond what every layer's has.

use bytes::Bytes;
use fusebox_core::{Name, Rejection, RejectionKind};
use fusebox_http::{Protocol, Respond, refusal_with_room};
use http::{HeaderName, HeaderValue, Response};

use crate::policies::Policies;

const GRPC_STATUS_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// The response to a refused request, with room for so many more header fields.
pub(crate) fn response(
    rejection: Rejection,
    violated: u8,
    policies: Option<&Policies>,
    protocol: Protocol,
    respond: Option<&dyn Respond>,
    fields: usize,
) -> Response<Bytes> {
    let standard = respond.is_none() && rejection.kind() == RejectionKind::QuotaExceeded;
    let retry_after = rejection.retry_after();
    let mut response = refusal_with_room(rejection, protocol, respond, fields);
    if !standard {
        return response;
    }
    match protocol {
        Protocol::Http => {
            if let Some(policies) = policies {
                *response.body_mut() = policies.problem(violated);
            }
        }
        _ => {
            if let Some(after) = retry_after
                && let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(details(after)))
            {
                response.headers_mut().insert(GRPC_STATUS_DETAILS, value);
            }
        }
    }
    response
}

/// The problem document of the draft (`quota-exceeded`), with the members every refusal has.
///
/// The names are printable ASCII without quotes and backslashes, so they need no escaping.
pub(crate) fn problem<'n>(violated: impl Iterator<Item = &'n Name>) -> Bytes {
    const HEAD: &str = concat!(
        r#"{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","#,
        r#""title":"Request cannot be satisfied as assigned quota has been exceeded","status":429,"#,
        r#""detail":"the request quota is used up","code":"quota_exceeded","violated-policies":["#,
    );
    let mut text = Vec::with_capacity(HEAD.len() + 64);
    text.extend_from_slice(HEAD.as_bytes());
    for (at, name) in violated.enumerate() {
        if at > 0 {
            text.push(b',');
        }
        text.push(b'"');
        text.extend_from_slice(name.as_str().as_bytes());
        text.push(b'"');
    }
    text.extend_from_slice(b"]}");
    text.into()
}

/// A `google.rpc.Status` with a `google.rpc.RetryInfo`, as `grpc-status-details-bin` carries it.
///
/// Written by hand: three nested messages of a few bytes, for which a protobuf library would be the
/// crate's largest dependency. Field numbers from `google/rpc/status.proto`, `error_details.proto`
/// and `google/protobuf/any.proto`, `duration.proto`; the wire format from protobuf.dev, "Encoding".
fn details(after: std::time::Duration) -> Vec<u8> {
    const TYPE_URL: &[u8] = b"type.googleapis.com/google.rpc.RetryInfo";
    /// The longest that a `google.protobuf.Duration` can say: some 10,000 years.
    const LONGEST: u64 = 315_576_000_000;
    let mut delay = Vec::with_capacity(16);
    integer(&mut delay, 1, after.as_secs().min(LONGEST));
    integer(&mut delay, 2, u64::from(after.subsec_nanos()));
    let mut info = Vec::with_capacity(24);
    bytes_field(&mut info, 1, &delay);
    let mut any = Vec::with_capacity(80);
    bytes_field(&mut any, 1, TYPE_URL);
    bytes_field(&mut any, 2, &info);
    let mut status = Vec::with_capacity(160);
    integer(&mut status, 1, 8);
    let message = RejectionKind::QuotaExceeded.explanation();
    bytes_field(&mut status, 2, message.as_bytes());
    bytes_field(&mut status, 3, &any);
    base64(&status)
}

fn integer(message: &mut Vec<u8>, field: u8, value: u64) {
    // A zero is what a missing field means.
    if value > 0 {
        message.push(field << 3);
        varint(message, value);
    }
}

fn bytes_field(message: &mut Vec<u8>, field: u8, value: &[u8]) {
    message.push(field << 3 | 2);
    varint(message, value.len() as u64);
    message.extend_from_slice(value);
}

fn varint(message: &mut Vec<u8>, mut value: u64) {
    loop {
        let low = u8::try_from(value & 0x7f).unwrap_or(0);
        value >>= 7;
        if value == 0 {
            message.push(low);
            return;
        }
        message.push(low | 0x80);
    }
}

/// The standard alphabet, without padding, as gRPC over HTTP/2 asks for binary headers.
fn base64(bytes: &[u8]) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let group = at(0) << 16 | at(1) << 8 | at(2);
        // One more than there are bytes: 8, 16 or 24 bits in groups of six.
        for shift in [18, 12, 6, 0].into_iter().take(chunk.len() + 1) {
            let index = usize::try_from(group >> shift & 63);
            text.extend(index.ok().and_then(|index| ALPHABET.get(index)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn base64_is_that_of_rfc_4648_without_padding() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg"),
            ("fo", "Zm8"),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg"),
            ("fooba", "Zm9vYmE"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text.as_bytes());
        }
    }

    #[test]
    fn details_are_a_status_with_a_retry_info_in_the_wire_format_of_protobuf() {
        // Field by field: code 8, the message of 28 bytes, and a RetryInfo of 3.5 seconds in an Any.
        let mut expected = vec![0x08, 8, 0x12, 28];
        expected.extend_from_slice(b"the request quota is used up\x1a");
        let mut any = vec![0x0a, 40];
        any.extend_from_slice(b"type.googleapis.com/google.rpc.RetryInfo");
        any.extend_from_slice(&[
            0x12, 10, 0x0a, 8, 0x08, 3, 0x10, 0x80, 0xca, 0xb5, 0xee, 0x01,
        ]);
        expected.push(u8::try_from(any.len()).unwrap());
        expected.extend_from_slice(&any);
        assert_eq!(details(Duration::from_millis(3_500)), base64(&expected));
    }
}
