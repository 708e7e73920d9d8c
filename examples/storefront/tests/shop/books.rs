use storefront::{
    app::Settings,
    db::Database,
    jobs::{Job, Jobs},
    payments::ledger::Ledger,
};

use crate::desk::{Desk, order};

/// What an account holds, all currencies together: the test pays in one.
const BALANCES: [&str; 3] = [
    "SELECT COALESCE(SUM(amount), 0) FROM ledger_entries WHERE account = 'receivable'",
    "SELECT COALESCE(SUM(amount), 0) FROM ledger_entries WHERE account = 'merchant_pending'",
    "SELECT COALESCE(SUM(amount), 0) FROM ledger_entries WHERE account = 'merchant_available'",
];

async fn balances(desk: &Desk) -> [i64; 3] {
    let mut balances = [0; 3];
    for (balance, sql) in balances.iter_mut().zip(BALANCES) {
        *balance = desk.number(sql).await;
    }
    balances
}

/// The jobs alone, without the runner that does them at its own time.
async fn jobs(desk: &Desk) -> Jobs {
    let database = Database::prepare(desk.directory.path()).await.unwrap();
    Jobs {
        pool: database.pool(storefront::db::Use::Jobs, 2).await.unwrap(),
        ledger: Ledger::new().into(),
    }
}

#[tokio::test]
async fn the_books_balance_before_and_after_the_payments_are_settled() {
    let desk = Desk::open(Settings::default()).await;
    for number in 1..=60 {
        let paid = desk.pay(&format!("key-{number}"), &order(number)).await;
        assert_eq!(paid.status, 201);
    }
    let all = 60 * 1999;
    let [receivable, pending, available] = balances(&desk).await;
    assert_eq!(receivable, all);
    assert_eq!(pending + available, -all);

    let jobs = jobs(&desk).await;
    for job in [Job::Settle, Job::RollUp, Job::Checkpoint, Job::Audit] {
        jobs.run(job).await.unwrap();
    }
    assert_eq!(balances(&desk).await, [all, 0, -all]);
    assert_eq!(jobs.audit().await.unwrap(), []);
    let settled = desk
        .number("SELECT SUM(payments) FROM daily_settlements")
        .await;
    assert_eq!(settled, 60);

    jobs.pool.close().await;
    desk.shop.close().await;
}

#[tokio::test]
async fn the_audit_finds_an_entry_without_its_counterpart() {
    let desk = Desk::open(Settings::default()).await;
    let paid = desk.pay("audited", &order(1)).await;
    let jobs = jobs(&desk).await;
    sqlx::query(
        "INSERT INTO ledger_entries (payment_id, account, amount, currency, posted_at) \
         SELECT id, 'receivable', 5, 'EUR', 0 FROM payments",
    )
    .execute(&jobs.pool)
    .await
    .unwrap();
    let id = paid.body["id"].as_str().unwrap().to_owned();
    assert_eq!(jobs.audit().await.unwrap(), [(id, 5)]);
    jobs.pool.close().await;
    desk.shop.close().await;
}

#[tokio::test]
async fn a_ledger_entry_is_never_changed_nor_deleted() {
    let desk = Desk::open(Settings::default()).await;
    desk.pay("kept", &order(1)).await;
    let jobs = jobs(&desk).await;
    for sql in [
        "UPDATE ledger_entries SET amount = amount + 1",
        "DELETE FROM ledger_entries",
    ] {
        let error = sqlx::query(sql).execute(&jobs.pool).await.unwrap_err();
        assert!(
            error.to_string().contains("ledger entries are never"),
            "{error}"
        );
    }
    jobs.pool.close().await;
    desk.shop.close().await;
}
