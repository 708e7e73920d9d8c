use http::{HeaderMap, HeaderValue, StatusCode};

/// A gRPC status code, as the gRPC specification numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GrpcCode(u8);

impl GrpcCode {
    /// The call succeeded.
    pub const OK: Self = Self(0);
    /// The caller cancelled.
    pub const CANCELLED: Self = Self(1);
    /// An error without a better code; also what a missing or unreadable `grpc-status` means.
    pub const UNKNOWN: Self = Self(2);
    /// The caller sent something wrong.
    pub const INVALID_ARGUMENT: Self = Self(3);
    /// The deadline passed first.
    pub const DEADLINE_EXCEEDED: Self = Self(4);
    /// There is no such thing.
    pub const NOT_FOUND: Self = Self(5);
    /// There is already such a thing.
    pub const ALREADY_EXISTS: Self = Self(6);
    /// The caller may not.
    pub const PERMISSION_DENIED: Self = Self(7);
    /// A quota or another limit is used up.
    pub const RESOURCE_EXHAUSTED: Self = Self(8);
    /// The system is not in the state the call needs.
    pub const FAILED_PRECONDITION: Self = Self(9);
    /// A conflict; the caller may start over.
    pub const ABORTED: Self = Self(10);
    /// Past the end of what there is.
    pub const OUT_OF_RANGE: Self = Self(11);
    /// There is no such method.
    pub const UNIMPLEMENTED: Self = Self(12);
    /// Something is broken inside.
    pub const INTERNAL: Self = Self(13);
    /// Not available now; a retry may succeed.
    pub const UNAVAILABLE: Self = Self(14);
    /// Data is lost or corrupt.
    pub const DATA_LOSS: Self = Self(15);
    /// The caller did not say who it is.
    pub const UNAUTHENTICATED: Self = Self(16);

    /// The code in headers or trailers: `None` when there is no `grpc-status` at all,
    /// [`UNKNOWN`](Self::UNKNOWN) when it is not a code, as the specification asks.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get("grpc-status")?.as_bytes();
        let code = match value {
            [digit @ b'0'..=b'9'] => digit - b'0',
            [b'1', digit @ b'0'..=b'6'] => 10 + digit - b'0',
            _ => return Some(Self::UNKNOWN),
        };
        Some(Self(code))
    }

    /// What an HTTP status means for a gRPC call that got no `grpc-status`: some proxy answered.
    ///
    /// The table is gRPC's "HTTP to gRPC Status Code Mapping".
    #[must_use]
    pub const fn of_http_status(status: StatusCode) -> Self {
        match status.as_u16() {
            400 => Self::INTERNAL,
            401 => Self::UNAUTHENTICATED,
            403 => Self::PERMISSION_DENIED,
            404 => Self::UNIMPLEMENTED,
            429 | 502..=504 => Self::UNAVAILABLE,
            _ => Self::UNKNOWN,
        }
    }

    /// The number, 0 to 16.
    #[must_use]
    pub const fn as_u8(self) -> u8 {
        self.0
    }

    /// As the value of a `grpc-status` header.
    #[must_use]
    pub fn header_value(self) -> HeaderValue {
        u16::from(self.0).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &'static str) -> Option<GrpcCode> {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-status", HeaderValue::from_static(value));
        GrpcCode::of(&headers)
    }

    #[test]
    fn reads_every_code_and_nothing_else() {
        for code in 0..=16 {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-status", GrpcCode(code).header_value());
            assert_eq!(GrpcCode::of(&headers), Some(GrpcCode(code)));
        }
        for wrong in [
            "",
            "17",
            "99",
            "-1",
            "0 ",
            "00",
            "ok",
            "1000000000000000000000",
        ] {
            assert_eq!(of(wrong), Some(GrpcCode::UNKNOWN), "{wrong:?}");
        }
        assert_eq!(GrpcCode::of(&HeaderMap::new()), None);
    }
}
