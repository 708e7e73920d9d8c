use std::{net::SocketAddr, time::Duration};

use fusebox_example_grpc::{
    bank::{Bank, Health},
    server::{Limits, Running},
};
use storefront::{app::Settings, compartments::Protection, db::Database};
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{sleep, timeout},
};
use tonic::Code;
use tower::ServiceExt;

use crate::desk::{Desk, EVERY_PROTECTION, order, payment};

const PAYMENTS: &str = "SELECT COUNT(*) FROM payments";
/// What customers owe: one entry for each payment, whether it has been settled meanwhile or not.
const DEBITS: &str = "SELECT COUNT(*) FROM ledger_entries WHERE account = 'receivable'";

/// Much longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(20);

/// A shop whose authoriser is the test's.
struct Scene {
    desk: Desk,
    bank: Bank,
    address: SocketAddr,
    server: Option<Running>,
}

impl Scene {
    async fn set() -> Self {
        Self::with(Protection::Fusebox, Limits::default()).await
    }

    async fn with(protection: Protection, limits: Limits) -> Self {
        let bank = Bank::default();
        let server = Running::start(([127, 0, 0, 1], 0).into(), bank.clone(), limits).unwrap();
        let address = server.address();
        let desk = Desk::open(Settings {
            protection,
            authoriser: Some(format!("http://{address}").parse().unwrap()),
            ..Settings::default()
        })
        .await;
        Self {
            desk,
            bank,
            address,
            server: Some(server),
        }
    }

    async fn written(&self) -> (i64, i64) {
        let desk = &self.desk;
        (desk.number(PAYMENTS).await, desk.number(DEBITS).await)
    }

    /// Asks until it is paid.
    async fn paid_in_the_end(&self, key: &str) -> String {
        let paid = async {
            loop {
                let answer = self.desk.pay(key, &order(1)).await;
                if answer.status == 201 {
                    return answer.body["authorisation"].as_str().unwrap().to_owned();
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, paid).await.unwrap()
    }
}

fn started(address: SocketAddr, bank: &Bank) -> Option<Running> {
    Running::start(address, bank.clone(), Limits::default()).ok()
}

#[tokio::test]
async fn a_payment_is_written_with_the_authorisers_word_for_it() {
    for protection in EVERY_PROTECTION {
        let desk = Desk::with(protection).await;
        let paid = desk.pay("once", &order(7)).await;
        assert_eq!(paid.status, 201);
        let word = &paid.body["authorisation"];
        assert_eq!(word, "auth-once/7/1999/EUR", "{protection}");
        let location = paid.headers["location"].to_str().unwrap();
        assert_eq!(&desk.get(location).await.body["authorisation"], word);
        desk.shop.close().await;
    }
}

#[tokio::test]
async fn what_is_on_the_books_or_cannot_be_paid_is_answered_without_the_authoriser() {
    let mut scene = Scene::set().await;
    let first = scene.desk.pay("once", &order(7)).await;
    scene.server.take().unwrap().kill();
    let again = scene.desk.pay("once", &order(7)).await;
    assert_eq!(again.body, first.body);
    assert_eq!(again.headers["idempotent-replayed"], "true");
    let other = scene.desk.pay("once", &order(8)).await;
    assert_eq!(other.problem(), (422, "idempotency_key_reused"));
    let unknown = scene.desk.pay("new", &order(1_000_000)).await;
    assert_eq!(unknown.problem(), (422, "unknown_order"));
    assert_eq!(scene.bank.calls(), 1);
    scene.desk.shop.close().await;
}

#[tokio::test]
async fn a_payment_that_is_not_authorised_is_not_written_and_may_be_repeated() {
    let mut scene = Scene::set().await;
    scene.bank.is(Health::Fails(Code::FailedPrecondition));
    let declined = scene.desk.pay("mine", &order(1)).await;
    assert_eq!(declined.problem(), (402, "payment_declined"));

    scene.bank.is(Health::Fails(Code::Internal));
    let failed = scene.desk.pay("mine", &order(1)).await;
    assert_eq!(failed.problem(), (502, "authoriser_failed"));

    scene.bank.is(Health::Hangs);
    let late = scene.desk.pay("mine", &order(1)).await;
    assert_eq!(late.problem(), (504, "authoriser_timeout"));

    scene.server.take().unwrap().kill();
    let dead = scene.desk.pay("mine", &order(1)).await;
    assert_eq!(dead.problem(), (502, "authoriser_failed"));
    assert_eq!(scene.written().await, (0, 0));

    scene.bank.is(Health::Well);
    let returned = async {
        while scene.server.is_none() {
            scene.server = started(scene.address, &scene.bank);
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, returned).await.unwrap();
    assert_eq!(scene.paid_in_the_end("mine").await, "auth-mine/1/1999/EUR");
    assert_eq!(scene.written().await, (1, 1));
    scene.desk.shop.close().await;
}

#[tokio::test]
async fn while_the_circuit_is_open_a_payment_is_refused_at_once_and_told_when_to_come_back() {
    let scene = Scene::set().await;
    scene.bank.is(Health::Fails(Code::Unavailable));
    // In the authoriser's own words it is the same problem: nobody has to know who refuses.
    for _ in 0..5 {
        let refused = scene.desk.pay("mine", &order(1)).await;
        assert_eq!(refused.problem(), (503, "authoriser_unavailable"));
    }
    let refused = scene.desk.pay("mine", &order(1)).await;
    assert_eq!(refused.problem(), (503, "authoriser_unavailable"));
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(scene.bank.calls(), 5, "the sixth did not reach it");
    let circuits = scene.desk.get("/fusebox").await.body;
    assert_eq!(circuits["circuits"][0]["state"], "open", "{circuits}");
    assert_eq!(scene.written().await, (0, 0));

    scene.bank.is(Health::Well);
    scene.paid_in_the_end("mine").await;
    assert_eq!(scene.written().await, (1, 1));
    scene.desk.shop.close().await;
}

/// What makes the storm's other columns a comparison: nothing of ours is in them.
#[tokio::test]
async fn without_fusebox_nobody_is_refused_however_often_the_authoriser_failed_or_hangs() {
    // More at once than the guarded client has slots for, and many times what opens its circuit.
    const AT_ONCE: usize = 120;
    for protection in [Protection::None, Protection::Semaphore] {
        let limits = Limits {
            per_second: 100_000,
            slots: 10 * AT_ONCE,
        };
        let scene = Scene::with(protection, limits).await;
        for calls in 1..=20 {
            scene.bank.is(Health::Fails(Code::Internal));
            let failed = scene.desk.pay("mine", &order(1)).await;
            assert_eq!(failed.problem(), (502, "authoriser_failed"), "{protection}");
            assert_eq!(scene.bank.calls(), calls, "{protection}");
        }
        scene.bank.is(Health::Hangs);
        let mut asking = JoinSet::new();
        for number in 0..AT_ONCE {
            let asked = payment(&format!("hangs-{number}"), &order(1));
            asking.spawn(scene.desk.shop.router().oneshot(asked));
        }
        while let Some(answer) = asking.join_next().await {
            assert_eq!(answer.unwrap().unwrap().status(), 504, "{protection}");
        }
        let late = scene.desk.pay("mine", &order(1)).await;
        assert_eq!(late.problem(), (504, "authoriser_timeout"), "{protection}");

        let panel = scene.desk.get("/fusebox").await.body;
        assert_eq!(panel["circuits"].as_array().unwrap().len(), 0, "{panel}");
        assert_eq!(panel["compartments"].as_array().unwrap().len(), 0);
        scene.bank.is(Health::Well);
        assert_eq!(scene.desk.pay("mine", &order(1)).await.status, 201);
        assert_eq!(scene.written().await, (1, 1));
        scene.desk.shop.close().await;
    }
}

#[tokio::test]
async fn a_client_that_goes_away_while_its_payment_is_authorised_may_come_back() {
    let scene = Scene::set().await;
    scene.bank.is(Health::Hangs);
    let asking = tokio::spawn(scene.desk.shop.router().oneshot(payment("mine", &order(1))));
    timeout(PATIENCE, scene.bank.called(1)).await.unwrap();
    asking.abort();
    scene.bank.is(Health::Well);
    assert_eq!(scene.paid_in_the_end("mine").await, "auth-mine/1/1999/EUR");
    assert_eq!(scene.written().await, (1, 1));
    scene.desk.shop.close().await;
}

#[tokio::test]
async fn of_two_bodies_that_race_for_a_key_the_one_that_is_paid_is_the_one_that_was_authorised() {
    let scene = Scene::set().await;
    // Both are past the books and wait for the authoriser.
    scene.bank.is(Health::Hangs);
    let mut asking = JoinSet::new();
    for number in [1, 2] {
        let asked = payment("race", &order(number));
        asking.spawn(scene.desk.shop.router().oneshot(asked));
    }
    timeout(PATIENCE, scene.bank.called(2)).await.unwrap();
    scene.bank.is(Health::Well);

    let mut statuses = Vec::new();
    while let Some(answer) = asking.join_next().await {
        statuses.push(answer.unwrap().unwrap().status().as_u16());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 422]);
    let matching = "SELECT COUNT(*) FROM payments \
                    WHERE authorisation = 'auth-race/' || order_id || '/1999/EUR'";
    assert_eq!(scene.desk.number(matching).await, 1);
    assert_eq!(scene.written().await, (1, 1));
    scene.desk.shop.close().await;
}

#[tokio::test]
async fn the_shops_own_authoriser_ends_with_the_shop() {
    let desk = Desk::with(EVERY_PROTECTION[2]).await;
    let address = desk.shop.authoriser().unwrap();
    assert!(TcpStream::connect(address).await.is_ok());
    desk.shop.close().await;
    // Its listener goes with its runtime, which nobody waits for.
    let gone = async {
        while TcpStream::connect(address).await.is_ok() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, gone).await.unwrap();
}

#[tokio::test]
async fn books_from_before_payments_were_authorised_are_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let database = Database::prepare(directory.path()).await.unwrap();
    let mut connection = database.connect().await.unwrap();
    sqlx::query("ALTER TABLE payments DROP COLUMN authorisation")
        .execute(&mut connection)
        .await
        .unwrap();
    Database::prepare(directory.path()).await.unwrap();
    let column = sqlx::query("SELECT authorisation FROM payments");
    assert!(column.fetch_all(&mut connection).await.unwrap().is_empty());
}
