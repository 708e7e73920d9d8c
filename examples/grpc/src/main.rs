//! Makes a payment every 100 ms while the authoriser is well, hangs, is dead and returns, and tells what
//! became of each.

use std::{error::Error, time::Duration};

use fusebox_circuit_breaker::Breaker;
use fusebox_core::{Change, Event, EventKind};
use fusebox_example_grpc::{
    bank::{Bank, Health},
    client::Authoriser,
    proto::AuthoriseRequest,
    server::{Limits, Running},
};
use tokio::time::{Instant, sleep};

/// Long enough to see the circuit open and close in each.
const ACT: Duration = Duration::from_secs(4);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let bank = Bank::default();
    let server = Running::start(([127, 0, 0, 1], 0).into(), bank.clone(), Limits::default())?;
    let address = server.address();
    let breaker = Breaker::builder("authoriser")
        .hanging_calls(3, Duration::from_millis(200))
        .exponential_cool_down(Duration::from_secs(1), Duration::from_secs(10))
        .ramp(0.25, Duration::from_secs(2))
        .observer(std::sync::Arc::new(|event: &Event<'_>| {
            if let EventKind::Change(Change::Circuit { from, to }) = event.kind {
                println!("    circuit: {from} -> {to}");
            }
        }))
        .build()?;
    let client = Authoriser::new(address, breaker, 32)?;

    println!("the bank is well");
    pay(&client).await;
    println!("it hangs");
    bank.is(Health::Hangs);
    pay(&client).await;
    println!("it dies");
    server.kill();
    pay(&client).await;
    println!("it is back");
    bank.is(Health::Well);
    let _server = Running::start(address, bank, Limits::default())?;
    pay(&client).await;
    Ok(())
}

async fn pay(client: &Authoriser) {
    let end = Instant::now() + ACT;
    let mut payments = Vec::new();
    while Instant::now() < end {
        let mut client = client.calls.clone();
        payments.push(tokio::spawn(async move {
            let payment = AuthoriseRequest {
                amount: 995,
                currency: "EUR".to_owned(),
                ..AuthoriseRequest::default()
            };
            let asked = Instant::now();
            let code = match client.authorise(payment).await {
                Ok(_) => "authorised".to_owned(),
                Err(status) => format!("{:?}", status.code()),
            };
            println!("  {code} after {:?}", asked.elapsed());
        }));
        sleep(Duration::from_millis(100)).await;
    }
    for payment in payments {
        let _ = payment.await;
    }
}
