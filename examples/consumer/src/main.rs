//! `cargo run -p consumer`: the same messages through a greedy and a patient consumer, side by side.

use std::time::Duration;

use consumer::{Consumer, Progress, Report, Settings, run};

/// Half a second of work for each consumer.
const SETTINGS: Settings = Settings {
    messages: 400,
    queue: 16,
    slots: 8,
    work: Duration::from_millis(10),
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let Settings {
        messages,
        queue,
        slots,
        work,
    } = SETTINGS;
    println!(
        "{messages} messages through a queue of {queue}, {slots} worked on at once, {work:?} each\n"
    );
    println!(
        "{:>17} {:>10} {:>10} {:>10}",
        "at", "sent", "in memory", "done"
    );
    let greedy = run(Consumer::Greedy, SETTINGS, told("greedy")).await?;
    let patient = run(Consumer::Patient, SETTINGS, told("patient")).await?;

    println!("\n{:<34} {:>10} {:>10}", "", "greedy", "patient");
    let row = |what: &str, cell: fn(&Report) -> String| {
        println!("{what:<34} {:>10} {:>10}", cell(&greedy), cell(&patient));
    };
    row("messages done", |report| report.done.to_string());
    row("most at work at once", |report| {
        report.most_at_work.to_string()
    });
    row("most in the consumer's memory", |report| {
        report.most_in_memory.to_string()
    });
    row("most left in the queue", |report| {
        report.most_queued.to_string()
    });
    row("the producer waited", |report| {
        millis(report.producer_waited)
    });
    row("all in all", |report| millis(report.took));
    println!(
        "\nBoth took the same time. The greedy consumer kept what it could not do in its own memory;\n\
         the patient one left it in the queue, and the producer slowed down to its pace."
    );
    Ok(())
}

fn told(who: &str) -> impl FnMut(Progress) {
    move |progress| {
        let at = millis(progress.at);
        println!(
            "{who:<8} {at:>8} {:>10} {:>10} {:>10}",
            progress.sent, progress.in_memory, progress.done
        );
    }
}

fn millis(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}
