//! Serves the API on port 8080.

use std::net::SocketAddr;

use tiers::{Accounts, Limiters, Plan, app};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let accounts =
        Accounts::default()
            .with("free-1", "ann", Plan::Free)
            .with("paid-1", "bob", Plan::Paid);
    let app = app(&Limiters::new()?, accounts);
    let listener = TcpListener::bind("127.0.0.1:8080").await?;
    println!("listening on http://{}", listener.local_addr()?);
    // With connect info, so that the limit by address sees an address.
    axum::serve(
        listener,
        app.into_make_service_with_connect_info::<SocketAddr>(),
    )
    .await?;
    Ok(())
}
