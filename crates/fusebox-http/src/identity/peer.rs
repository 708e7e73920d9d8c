//! Where the address of the other end of the connection is found.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use http::Extensions;

/// The other end of the connection, put into a request's extensions by whoever accepted it.
///
/// Believed before what axum and tonic say: an accept loop that reads the PROXY protocol or listens on
/// a Unix socket knows better. `Debug` leaves the address out.
///
/// ```
/// use std::net::SocketAddr;
/// use fusebox_http::identity::PeerAddr;
///
/// let mut request = http::Request::new(());
/// let peer: SocketAddr = ([192, 0, 2, 1], 50312).into();
/// request.extensions_mut().insert(PeerAddr(peer));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerAddr(pub SocketAddr);

impl From<SocketAddr> for PeerAddr {
    fn from(address: SocketAddr) -> Self {
        Self(address)
    }
}

impl fmt::Debug for PeerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerAddr").finish_non_exhaustive()
    }
}

/// The peer's address as the server reported it.
#[inline(always)]
pub(super) fn peer(extensions: &Extensions) -> Option<IpAddr> {
    if let Some(PeerAddr(peer)) = extensions.get() {
        return Some(peer.ip());
    }
    #[cfg(feature = "axum")]
    if let Some(axum::extract::ConnectInfo(peer)) =
        extensions.get::<axum::extract::ConnectInfo<SocketAddr>>()
    {
        return Some(peer.ip());
    }
    #[cfg(feature = "tonic")]
    if let Some(peer) = extensions
        .get::<tonic::transport::server::TcpConnectInfo>()
        .and_then(|info| info.remote_addr())
    {
        return Some(peer.ip());
    }
    extensions.get().map(SocketAddr::ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn our_own_extension_is_believed_before_a_bare_socket_address() {
        let mut extensions = Extensions::new();
        assert_eq!(peer(&extensions), None);
        extensions.insert(socket("192.0.2.1:1"));
        assert_eq!(peer(&extensions), Some(socket("192.0.2.1:1").ip()));
        extensions.insert(PeerAddr(socket("192.0.2.2:1")));
        assert_eq!(peer(&extensions), Some(socket("192.0.2.2:1").ip()));
    }

    #[cfg(feature = "axum")]
    #[test]
    fn reads_the_connect_info_of_axum() {
        let mut extensions = Extensions::new();
        extensions.insert(socket("192.0.2.1:1"));
        extensions.insert(axum::extract::ConnectInfo(socket("192.0.2.3:1")));
        assert_eq!(peer(&extensions), Some(socket("192.0.2.3:1").ip()));
    }

    #[cfg(feature = "tonic")]
    #[test]
    fn reads_the_connect_info_of_tonic() {
        use tonic::transport::server::TcpConnectInfo;
        let mut extensions = Extensions::new();
        extensions.insert(TcpConnectInfo {
            local_addr: None,
            remote_addr: None,
        });
        assert_eq!(peer(&extensions), None);
        extensions.insert(TcpConnectInfo {
            local_addr: None,
            remote_addr: Some(socket("192.0.2.4:1")),
        });
        assert_eq!(peer(&extensions), Some(socket("192.0.2.4:1").ip()));
    }

    #[test]
    fn debug_shows_no_address() {
        assert_eq!(
            format!("{:?}", PeerAddr(socket("192.0.2.1:1"))),
            "PeerAddr { .. }"
        );
    }
}
