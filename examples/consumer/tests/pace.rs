//! Who slows down, and who piles up. On a paused clock: the numbers are exact.

use std::time::Duration;

use consumer::{Consumer, Progress, Settings, run};

const SETTINGS: Settings = Settings {
    messages: 100,
    queue: 10,
    slots: 4,
    work: Duration::from_millis(10),
};

/// All of them, four at a time.
const TOOK: Duration = Duration::from_millis(250);

#[tokio::test(start_paused = true)]
async fn a_patient_consumer_slows_its_producer_down_and_piles_nothing_up() {
    let mut sent = Vec::new();
    let tell = |progress: Progress| sent.push(progress.sent);
    let report = run(Consumer::Patient, SETTINGS, tell).await.unwrap();
    assert_eq!(
        (report.produced, report.done),
        (100, 100),
        "nothing is lost"
    );
    assert_eq!(report.most_at_work, 4);
    assert_eq!(
        report.most_in_memory, 4,
        "what is not worked on is in the queue"
    );
    assert_eq!(
        report.most_queued,
        10 - 1,
        "a full queue, without the one that was taken"
    );
    assert_eq!(report.took, TOOK);
    // Every 100 ms it gets rid of what was worked on meanwhile, give or take what ends at that moment.
    let pace = sent.windows(2).map(|two| two[1] - two[0]);
    assert!(pace.clone().count() > 0);
    assert!(pace.clone().all(|pace| pace.abs_diff(40) <= 4), "{sent:?}");
    // The last message finds room when all but those in the queue and those at work are done.
    let first_done = SETTINGS.messages - SETTINGS.queue - SETTINGS.slots;
    let pace = SETTINGS.work * u32::try_from(first_done.div_ceil(SETTINGS.slots)).unwrap();
    assert_eq!(report.producer_waited, pace);
}

#[tokio::test(start_paused = true)]
async fn a_greedy_consumer_is_no_faster_and_keeps_everything_in_memory() {
    let mut sent = Vec::new();
    let tell = |progress: Progress| sent.push(progress.sent);
    let report = run(Consumer::Greedy, SETTINGS, tell).await.unwrap();
    assert_eq!((report.produced, report.done), (100, 100));
    assert_eq!(report.most_at_work, 4);
    assert_eq!(report.most_in_memory, 100);
    assert_eq!(report.took, TOOK);
    assert_eq!(report.producer_waited, Duration::ZERO, "it never learns");
    assert_eq!(sent, [100, 100]);
}

#[tokio::test(start_paused = true)]
async fn a_setting_that_is_none_is_an_error_that_names_it() {
    let settings = Settings {
        slots: 0,
        ..SETTINGS
    };
    let error = run(Consumer::Patient, settings, |_| ()).await.unwrap_err();
    assert!(format!("{error:#}").contains("slots: "), "{error:#}");
}
