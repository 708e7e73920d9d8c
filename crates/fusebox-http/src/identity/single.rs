//! Headers that have exactly one value: those of CDNs, and the one that is hashed.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::address::Address;
use super::error::{HeaderProblem, IdentityError};
use super::network::NetworkSet;
use super::node;

/// The header of a CDN, and from where it counts.
#[derive(Debug)]
pub(super) struct CdnHeader {
    pub(super) name: HeaderName,
    pub(super) peers: NetworkSet,
}

impl CdnHeader {
    /// The address in the header.
    ///
    /// A CDN overwrites its header, so two lines, a list or anything but an address mean that someone
    /// else wrote in it: there is no part of it left to believe.
    pub(super) fn address(&self, headers: &HeaderMap) -> Result<Option<Address>, IdentityError> {
        let Some(value) = only_value(headers, &self.name)? else {
            return Ok(None);
        };
        let unusable = |problem| IdentityError::UnusableHeader {
            header: self.name.clone(),
            problem,
        };
        let value = value.as_bytes().trim_ascii();
        if value.contains(&b',') {
            return Err(unusable(HeaderProblem::List));
        }
        node::parse(value)
            .map(Some)
            .map_err(|_| unusable(HeaderProblem::NotAnAddress))
    }
}

/// The value of a header that may occur once.
pub(super) fn only_value<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a HeaderValue>, IdentityError> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next();
    match lines.next() {
        None => Ok(first),
        Some(_) => Err(IdentityError::UnusableHeader {
            header: name.clone(),
            problem: HeaderProblem::Repeated,
        }),
    }
}
