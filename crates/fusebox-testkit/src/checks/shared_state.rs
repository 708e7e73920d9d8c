use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
};

use fusebox_core::Rejection;
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    Checked, MockBody, MockError, Script, Situation, Subject,
    poll::Polled,
    stage::{Candidate, Found, FutureOf, ServiceOf, Stage},
};

/// More calls than a tight fixture admits.
const CALLS: usize = 24;

/// Which services the calls of one run go through.
#[derive(Clone, Copy, Debug)]
enum Through {
    One,
    Clones,
    Layers,
    LayerClones,
}

/// What happens to the calls.
#[derive(Clone, Copy, Debug)]
enum Calls {
    /// None ends before the next is made.
    Concurrent,
    /// Each ends well before the next is made.
    Successful,
    /// Each fails before the next is made.
    Failing,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Seen {
    Admitted,
    Refused,
    Waiting,
}

const OTHERS: [(Through, &str); 3] = [
    (Through::Clones, "clones of the service"),
    (Through::Layers, "further calls of layer()"),
    (Through::LayerClones, "clones of the layer"),
];

/// One service and many must behave alike, call for call: however often the layer is applied, there is
/// one state. A sequence in which nothing is ever refused proves nothing, so one must turn.
pub(super) async fn run<S: Subject>(subject: Candidate<'_, S>, checked: &mut Checked) {
    let mut told = false;
    for calls in [Calls::Concurrent, Calls::Successful, Calls::Failing] {
        match compare(subject, calls, checked).await {
            Ok(turned) => told |= turned,
            Err(what) => checked.row(format_args!("{calls:?} calls"), Err(what)),
        }
    }
    match follow(subject).await {
        Ok(turned) => told |= turned,
        Err(what) => checked.row("released", Err(what)),
    }
    if !told {
        checked.row(
            "state",
            Err(format!(
                "cannot tell: no sequence of {CALLS} calls, and no release of what keeps it \
                 refusing, ever changed the verdict; make the fixtures tighter"
            )),
        );
    }
}

/// Whether the verdict changed within the sequence through one service.
async fn compare<S: Subject>(
    subject: Candidate<'_, S>,
    calls: Calls,
    checked: &mut Checked,
) -> Found<bool> {
    let reference = verdicts(subject, Through::One, calls).await?;
    let turned = reference.contains(&Seen::Admitted)
        && reference.iter().any(|verdict| *verdict != Seen::Admitted);
    if turned {
        for (through, name) in OTHERS {
            let seen = verdicts(subject, through, calls).await?;
            if seen != reference {
                let found = Err(format!(
                    "through one service {reference:?}, through {name} {seen:?}"
                ));
                checked.row(format_args!("{calls:?} calls"), found);
            }
        }
    }
    Ok(turned)
}

fn through<S: Subject>(
    stage: &Stage<'_, S>,
    through: Through,
    first: &ServiceOf<S>,
) -> ServiceOf<S> {
    match through {
        Through::One | Through::Clones => first.clone(),
        Through::Layers => stage.service(),
        Through::LayerClones => stage.fixture.layer.clone().layer(stage.mock.service()),
    }
}

/// What becomes of each call, up to the first that is not admitted.
async fn verdicts<S: Subject>(
    subject: Candidate<'_, S>,
    path: Through,
    calls: Calls,
) -> Found<Vec<Seen>> {
    let stage = Stage::admitting(
        subject,
        match calls {
            Calls::Concurrent => Script::never(),
            Calls::Successful => Script::ok(MockBody::full("hello")),
            Calls::Failing => Script::fail(MockError("connection reset")),
        },
    )
    .await?;
    let mut first = stage.service();
    let mut in_flight = Vec::new();
    let mut seen = Vec::new();
    for _ in 0..CALLS {
        let mut other;
        let service = match path {
            Through::One => &mut first,
            _ => {
                other = through(&stage, path, &first);
                &mut other
            }
        };
        let verdict = match calls {
            Calls::Concurrent => {
                let (verdict, future) = begin(&stage, service).await?;
                in_flight.push(future);
                verdict
            }
            Calls::Successful | Calls::Failing => {
                let (verdict, settled) = whole(&stage, service).await?;
                if !settled {
                    seen.push(verdict);
                    break;
                }
                verdict
            }
        };
        seen.push(verdict);
        if verdict != Seen::Admitted {
            break;
        }
    }
    Ok(seen)
}

/// Makes a call that will not end.
async fn begin<S: Subject>(
    stage: &Stage<'_, S>,
    service: &mut ServiceOf<S>,
) -> Found<(Seen, Option<Pin<Box<FutureOf<S>>>>)> {
    match stage.driver.poll(1, |cx| service.poll_ready(cx)).await {
        Polled::Ready(Ok(())) => {}
        Polled::Ready(Err(error)) => return Err(format!("poll_ready failed: {error}")),
        Polled::Pending | Polled::Stuck => return Ok((Seen::Waiting, None)),
    }
    let before = stage.mock.called();
    let mut future = Box::pin(service.call(stage.request()));
    let mut answer = None;
    let mut poll = Context::from_waker(Waker::noop());
    // Either comes at once, or (if other threads act) soon; a call that waits does neither.
    stage
        .driver
        .holds(|| {
            if answer.is_none()
                && let Poll::Ready(ready) = future.as_mut().poll(&mut poll)
            {
                answer = Some(ready);
            }
            answer.is_some() || stage.mock.called() > before
        })
        .await;
    let verdict = match answer {
        Some(Ok(response)) if response.extensions().get::<Rejection>().is_some() => Seen::Refused,
        Some(_) => return Err("the call is over, where it was to go on".to_owned()),
        None if stage.mock.called() > before => Seen::Admitted,
        None => Seen::Waiting,
    };
    Ok((verdict, Some(future)))
}

/// Makes a call and sees it to its end; `false` when it does not give back what it held.
async fn whole<S: Subject>(
    stage: &Stage<'_, S>,
    service: &mut ServiceOf<S>,
) -> Found<(Seen, bool)> {
    let before = stage.held();
    stage.ready(service).await?;
    let mut future = Box::pin(service.call(stage.request()));
    let head = stage
        .driver
        .finish("the response future", |cx| future.as_mut().poll(cx))
        .await?;
    drop(future);
    let seen = match head {
        Ok(response) => match stage.read(response).await?.rejection() {
            Some(_) => Seen::Refused,
            None => Seen::Admitted,
        },
        Err(_) => Seen::Admitted,
    };
    // Whether it gives back is the business of another check, but it must have had the time to.
    let settled = stage.driver.holds(|| stage.held() == before).await;
    Ok((seen, settled))
}

/// A layer that refuses does so through every copy, and stops doing so through every copy.
async fn follow<S: Subject>(subject: Candidate<'_, S>) -> Found<bool> {
    let Some(mut stage) = Stage::set(
        subject,
        Situation::Refuses,
        Script::ok(MockBody::full("hello")),
    )
    .await
    else {
        return Ok(false);
    };
    let first = stage.service();
    let mut copies = vec![("the service", first.clone())];
    for (path, name) in OTHERS {
        copies.push((name, through(&stage, path, &first)));
    }
    for (name, copy) in &copies {
        if whole(&stage, &mut copy.clone()).await?.0 != Seen::Refused {
            return Err(format!("the layer refuses, {name} do not"));
        }
    }
    stage.release();
    let mut turned = None;
    for (name, copy) in &copies {
        let (now, _) = whole(&stage, &mut copy.clone()).await?;
        match turned {
            None => turned = Some(now),
            Some(first) if first == now => {}
            Some(first) => {
                return Err(format!("the service says {first:?}, {name} say {now:?}"));
            }
        }
    }
    Ok(turned == Some(Seen::Admitted))
}
