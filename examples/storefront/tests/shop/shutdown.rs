use std::{net::SocketAddr, time::Duration};

use storefront::{analytics::Strain, app::Settings, serve::serve_until};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};

use crate::desk::{Desk, number};

/// Longer than any test takes; where it matters that it is not waited for.
const AGES: Duration = Duration::from_secs(3_600);

struct Serving {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<anyhow::Result<()>>,
    directory: tempfile::TempDir,
}

async fn serving(strain: Strain, patience: Duration) -> Serving {
    let desk = Desk::open(Settings {
        strain,
        ..Settings::default()
    })
    .await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let stopped = async {
        let _ = stopped.await;
    };
    let served = tokio::spawn(serve_until(stopped, listener, desk.shop, patience));
    Serving {
        address,
        stop,
        served,
        directory: desk.directory,
    }
}

#[tokio::test]
async fn a_request_under_way_is_finished_before_the_shop_closes() {
    let slow = Strain {
        delay: Duration::from_millis(500),
        ..Strain::default()
    };
    let serving = serving(slow, AGES).await;
    let mut client = TcpStream::connect(serving.address).await.unwrap();
    client
        .write_all(b"GET /analytics/revenue HTTP/1.1\r\nhost: shop\r\n\r\n")
        .await
        .unwrap();
    // An answer on a connection made later says that the first one has been taken.
    let mut later = TcpStream::connect(serving.address).await.unwrap();
    later
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut health = String::new();
    later.read_to_string(&mut health).await.unwrap();
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");

    serving.stop.send(()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    serving.served.await.unwrap().unwrap();
    assert!(TcpStream::connect(serving.address).await.is_err());

    // The last connection to close has moved the write-ahead log into the file.
    let log = serving.directory.path().join("shop.db-wal");
    assert!(!log.exists(), "{}", log.display());
    assert_eq!(
        number(
            serving.directory.path(),
            "SELECT value FROM facts WHERE name = 'orders'"
        )
        .await,
        200
    );
}

#[tokio::test]
async fn a_client_that_never_finishes_its_request_does_not_keep_the_shop_open() {
    let serving = serving(Strain::default(), Duration::from_millis(100)).await;
    let mut client = TcpStream::connect(serving.address).await.unwrap();
    client
        .write_all(b"POST /payments HTTP/1.1\r\nhost: shop\r\ncontent-length: 50\r\n\r\n{")
        .await
        .unwrap();
    serving.stop.send(()).unwrap();
    serving.served.await.unwrap().unwrap();
}
