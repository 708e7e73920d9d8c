//! An inspection keeps no thread to itself.
//!
//! Time is what the thread itself has computed: on a machine that does other things as well, a clock on the wall would measure those.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking too")]

use std::convert::Infallible;
use std::fmt::Write as _;
use std::future::{Ready, ready};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use fusebox_core::Registration;
use fusebox_waf::{InspectedBody, OverTime, Ruleset, Waf, WafLayer};
use http::{Request, Response};
use http_body_util::Full;
use rustix::time::{ClockId, clock_gettime};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tower::util::ServiceFn;
use tower::{Layer, ServiceExt, service_fn};

fn layer() -> WafLayer {
    Ruleset::builder("stall")
        .core()
        // Of the wall's time, which passes for other programs, too.
        .time_budget(Duration::from_secs(600), OverTime::Refuse)
        .registration(Registration::Unlisted)
        .build()
        .unwrap()
        .layer()
}

type Inspected = Request<InspectedBody<Full<Bytes>>>;

type Answered = Ready<Result<Response<Full<Bytes>>, Infallible>>;
type Shop = ServiceFn<fn(Inspected) -> Answered>;

fn firewall() -> Waf<Shop> {
    fn shop(_: Inspected) -> Answered {
        ready(Ok(Response::new(Full::default())))
    }
    layer().layer(service_fn(shop as fn(Inspected) -> Answered))
}

const LONG: usize = 100 << 10;

/// Bodies of a hundred kilobytes, of the kinds that rules look into.
fn bodies() -> Vec<(&'static str, &'static str, Bytes)> {
    let form = "application/x-www-form-urlencoded";
    let prose = "The quick brown fox, it's said, jumps over (some of) the lazy dogs; see page 4. ";
    let mut order = String::from("[");
    let mut many = String::new();
    let mut nested = String::new();
    while order.len() < LONG {
        let at = order.len();
        let _ = write!(
            order,
            r#"{{"id":{at},"name":"Spade No. {at}","price":"{at}.50","note":"{prose}"}},"#
        );
    }
    order.push_str("{}]");
    while many.len() < LONG {
        let at = many.len();
        let _ = write!(many, "field{at}=some+value+{at}&");
    }
    while nested.len() < LONG {
        nested.push_str("<item n='1'><name>Spade</name></item>");
    }
    let escaped = prose.replace(' ', "+").replace(';', "%3B");
    let bodies = [
        ("orders in JSON", "application/json", order),
        (
            "a long field",
            form,
            format!("text={}", escaped.repeat(LONG / escaped.len())),
        ),
        ("many fields", form, many.trim_end_matches('&').to_owned()),
        ("prose", "text/plain", prose.repeat(LONG / prose.len())),
        ("XML", "application/xml", format!("<list>{nested}</list>")),
        (
            "nothing but quotes",
            form,
            format!("q={}", "'%22(".repeat(LONG / 6)),
        ),
    ];
    let shared = bodies.into_iter();
    shared
        .map(|(what, kind, body)| (what, kind, body.into()))
        .collect()
}

fn request(kind: &str, body: &Bytes) -> Request<Full<Bytes>> {
    Request::post("/import")
        .header("host", "shop.example")
        .header("user-agent", "Mozilla/5.0")
        .header("accept", "*/*")
        .header("content-type", kind)
        .body(Full::from(body.clone()))
        .unwrap()
}

/// How long this thread has computed.
fn computed() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}

/// What other tasks of a thread may have to wait. An engine that is not optimised takes twelve to eighteen times as long.
const FEW: Duration = Duration::from_millis(if cfg!(debug_assertions) { 100 } else { 5 });

/// Inspects a body alone: the longest poll, and all of them.
fn alone(service: &Waf<Shop>, what: &str, kind: &str, body: &Bytes) -> (Duration, Duration) {
    let mut future = pin!(service.clone().oneshot(request(kind, body)));
    let mut cx = Context::from_waker(Waker::noop());
    let (mut longest, mut all) = (Duration::ZERO, Duration::ZERO);
    loop {
        let start = computed();
        let polled = future.as_mut().poll(&mut cx);
        let took = computed() - start;
        longest = longest.max(took);
        all += took;
        if let Poll::Ready(answer) = polled {
            assert_eq!(answer.unwrap().status(), 200, "{what}");
            println!("{what}: {longest:?} of {all:?}");
            return (longest, all);
        }
    }
}

#[test]
fn no_poll_takes_long() {
    let service = firewall();
    // Tables are made when they are first needed.
    for turn in 0..3 {
        for (what, kind, body) in bodies() {
            let (longest, all) = alone(&service, what, kind, &body);
            assert!(
                turn == 0 || longest <= FEW,
                "{what}: {longest:?} of {all:?} at once"
            );
        }
    }
}

/// The longest that the thread computes between two ticks of a millisecond, while twenty requests at a time are inspected on it.
async fn longest_between_ticks(service: Waf<Shop>) -> Duration {
    let bodies = bodies();
    let mut inspections = JoinSet::new();
    for turn in 0..20 {
        let (service, mut bodies) = (service.clone(), bodies.clone());
        let length = bodies.len();
        bodies.rotate_left(turn % length);
        inspections.spawn(async move {
            for (_, kind, body) in bodies.into_iter().take(3) {
                let answer = service.clone().oneshot(request(kind, &body)).await.unwrap();
                assert_eq!(answer.status(), 200);
            }
        });
    }
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut longest, mut last) = (Duration::ZERO, computed());
    loop {
        tokio::select! {
            // The timer first: what is measured is when it is looked at.
            biased;
            _ = tick.tick() => {
                let now = computed();
                longest = longest.max(now - last);
                last = now;
            }
            done = inspections.join_next() => match done {
                Some(done) => done.unwrap(),
                None => return longest,
            }
        }
    }
}

#[test]
fn timers_of_other_tasks_are_hardly_late_while_bodies_are_inspected_on_their_thread() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let service = firewall();
    let mut poll = Duration::ZERO;
    for turn in 0..2 {
        for (what, kind, body) in bodies() {
            let (longest, _) = alone(&service, what, kind, &body);
            if turn > 0 {
                poll = poll.max(longest);
            }
        }
    }
    let longest = runtime.block_on(longest_between_ticks(service));
    println!("{longest:?} between two ticks");
    // Until it is due it is not late.
    let late = longest.saturating_sub(Duration::from_millis(1));
    assert!(late <= FEW, "{late:?} late");
    // However fast the engine is: all twenty together do about what two of them would. Each on its own would do ten times as much.
    assert!(late <= 3 * poll, "{late:?} late, with polls of {poll:?}");
}
