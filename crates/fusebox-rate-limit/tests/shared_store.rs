//! A store that several processes share, such as a Redis: it knows nothing but what a question says, keeps plain numbers under
//! plain names, and goes by its own clock.
#![cfg(all(feature = "layer", not(fusebox_loom)))]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail by panicking too"
)]

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fusebox_core::Registration;
use fusebox_rate_limit::store::{
    Act, Answer, Decision, Key, Question, QuotaStore, StoreError, Verdict,
};
use fusebox_rate_limit::{Algorithm, Ask, Policy, Quota, RateLimiter, Tier};

/// What goes over the wire: a command for each policy that counts, nothing but text and numbers.
#[derive(Clone, Debug)]
struct Command {
    name: String,
    amount: u64,
    period_ns: u64,
    burst: u64,
    cost: u64,
    act: &'static str,
    ago_ns: u64,
}

fn commands(question: &Question<'_>) -> Vec<Command> {
    let terms = question.terms;
    let policies = terms.policies.iter().enumerate();
    let counting = policies.filter(|(at, _)| question.keys.get(*at) != Key::UNCOUNTED);
    let command = |(at, policy): (usize, &fusebox_rate_limit::store::PolicyTerms)| {
        assert_eq!(policy.algorithm(), Algorithm::TokenBucket);
        let key = question.keys.get(at).to_bits();
        let quota = policy.quota();
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap();
        Command {
            name: format!(
                "{}:{}:{}:{key:032x}",
                terms.limiter,
                terms.tier,
                policy.name()
            ),
            amount: quota.amount(),
            period_ns: nanos(quota.period()),
            burst: quota.burst_size(),
            cost: question.cost,
            act: match question.act {
                Act::Spend | Act::SpendNow => "spend",
                Act::Peek => "peek",
                Act::Penalise => "penalise",
                Act::Refund { .. } => "refund",
            },
            ago_ns: question.spent_ago().map_or(0, nanos),
        }
    };
    counting.map(command).collect()
}

/// The other machine: what each name owes, in nanotokens, and when that was.
#[derive(Debug, Default)]
struct Server {
    now_ns: u64,
    owed: HashMap<String, (u64, u64)>,
}

impl Server {
    /// All commands or none, as a script of the server would be.
    fn run(&mut self, commands: &[Command]) -> Verdict {
        let debts: Vec<u64> = commands.iter().map(|command| self.debt(command)).collect();
        let mut verdict = Verdict {
            decision: Decision::Admitted {
                wait: Duration::ZERO,
            },
            violated: 0,
            standings: None,
        };
        for (at, (command, debt)) in commands.iter().zip(&debts).enumerate() {
            let over = (debt + command.cost * TOKEN).saturating_sub(command.burst * TOKEN);
            if over > 0 && matches!(command.act, "spend" | "peek") {
                let nanos = u128::from(over) * u128::from(command.period_ns);
                let wait = nanos.div_ceil(u128::from(command.amount) * u128::from(TOKEN));
                verdict.violated |= 1 << at;
                verdict.decision = Decision::Refused {
                    retry_after: Some(Duration::from_nanos(u64::try_from(wait).unwrap())),
                };
            }
        }
        for (command, debt) in commands.iter().zip(debts) {
            let cost = command.cost * TOKEN;
            let owes = match command.act {
                "spend" if verdict.violated == 0 => debt + cost,
                "penalise" => debt + cost,
                // What came back by itself since is not given back again.
                "refund" => {
                    debt.saturating_sub(cost.saturating_sub(Self::came(command, command.ago_ns)))
                }
                _ => debt,
            };
            self.owed.insert(command.name.clone(), (owes, self.now_ns));
        }
        verdict
    }

    fn debt(&self, command: &Command) -> u64 {
        let (owed, then) = self.owed.get(&command.name).copied().unwrap_or_default();
        owed.saturating_sub(Self::came(command, self.now_ns - then))
    }

    fn came(command: &Command, nanos: u64) -> u64 {
        let came = u128::from(nanos) * u128::from(command.amount) * u128::from(TOKEN);
        u64::try_from(came / u128::from(command.period_ns)).unwrap()
    }
}

const TOKEN: u64 = 1_000_000;

/// One process's connection to it.
#[derive(Clone, Default)]
struct Client(Arc<Mutex<Server>>);

impl Client {
    fn pass(&self, time: Duration) {
        self.0.lock().unwrap().now_ns += u64::try_from(time.as_nanos()).unwrap();
    }
}

impl QuotaStore for Client {
    type Later = Pin<Box<dyn Future<Output = Result<Verdict, StoreError>> + Send>>;

    fn ask(&self, question: &Question<'_>) -> Answer<Self::Later> {
        let (commands, server) = (commands(question), self.0.clone());
        Answer::Later(Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Ok(server.lock().unwrap().run(&commands))
        }))
    }
}

/// A process of its own: what it hashes with and when its clock began is its own, but for the secret that all share.
fn process(server: &Client) -> RateLimiter<Client> {
    RateLimiter::builder("api")
        .policy(Policy::new("burst", Quota::per_second(1).burst(5)))
        .policy(Policy::new("hourly", Quota::per_hour(60).burst(8)))
        .hash_key(*b"of all processes")
        .registration(Registration::Unlisted)
        .build_with(server.clone())
        .unwrap()
}

async fn admitted(limiter: &RateLimiter<Client>, ask: Ask<'_>) -> usize {
    let mut admitted = 0;
    while limiter.wait(ask).await.is_ok() {
        admitted += 1;
    }
    admitted
}

#[tokio::test(start_paused = true)]
async fn processes_share_what_a_client_may_do() {
    let server = Client::default();
    let one = process(&server);
    // The other process starts a day later: its clock has another origin, and what it hashes places with another secret.
    tokio::time::advance(Duration::from_secs(86_400)).await;
    let two = process(&server);
    let alice = [one.text_key(b"alice"), two.text_key(b"alice")];
    assert_eq!(alice[0], alice[1]);
    for _ in 0..2 {
        assert!(one.wait(alice[0]).await.is_ok());
        assert!(two.wait(alice[1]).await.is_ok());
    }
    assert_eq!(admitted(&two, alice[1].into()).await, 1);
    assert_eq!(admitted(&one, alice[0].into()).await, 0);
    assert_eq!(admitted(&one, one.text_key(b"bob").into()).await, 5);
    // What comes back, comes by the clock of the store. Of the hour's eight, five are spent.
    server.pass(Duration::from_secs(4));
    assert_eq!(admitted(&one, alice[0].into()).await, 3);
    let refused = two.wait(alice[1]).await.unwrap_err();
    assert_eq!(refused.policy().as_str(), "hourly");
    assert!(refused.retry_after().unwrap() > Duration::from_secs(50));
}

#[tokio::test(start_paused = true)]
async fn what_is_given_back_is_as_old_as_it_is_whatever_the_clocks_say() {
    let server = Client::default();
    tokio::time::advance(Duration::from_secs(1_000)).await;
    let limiter = process(&server);
    let layer = limiter
        .layer()
        .keyed_by(fusebox_rate_limit::KeyBy::Shared)
        .settle_by(|_| 0);
    let service = tower::Layer::layer(
        &layer,
        tower::service_fn(async |_: http::Request<()>| {
            let body = fusebox_testkit::MockBody::empty();
            Ok::<_, std::convert::Infallible>(http::Response::new(body))
        }),
    );
    for _ in 0..20 {
        let answer = tower::ServiceExt::oneshot(service.clone(), http::Request::new(())).await;
        assert_eq!(answer.unwrap().status(), 200);
        // The answer that nobody waits for.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Until it was given back, a little has come back by itself, and is not given back twice.
    server.pass(Duration::from_millis(200));
    assert_eq!(admitted(&limiter, Key::SHARED.into()).await, 5);
}

#[tokio::test(start_paused = true)]
async fn a_new_quota_goes_with_the_next_question() {
    let server = Client::default();
    let limiter = process(&server);
    assert_eq!(admitted(&limiter, Key::SHARED.into()).await, 5);
    let quota = Quota::per_second(1).burst(7);
    limiter.set_quota(Tier::default(), "burst", quota).unwrap();
    assert_eq!(admitted(&limiter, Key::SHARED.into()).await, 2);
}
