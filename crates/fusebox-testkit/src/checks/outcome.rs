use fusebox_core::Outcome;
use http::{HeaderName, HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use http_body::Body;

use crate::{
    Checked, Flavour, MockBody, MockError, MockFrame, Script, Subject,
    stage::{Candidate, Found, Stage},
};

const ERROR: MockError = MockError("connection reset");
const HTTP: &str = "text/plain";
const GRPC: &str = "application/grpc+proto";

/// How far a call is followed before everything is dropped.
#[derive(Clone, Copy)]
enum Until {
    /// Into its response future.
    Asked,
    /// To its response head.
    Head,
    /// To its second frame, or to the first of a body that has no other.
    Frames(usize),
    /// As a server goes: until the body says that it has ended, or has no more to give.
    End,
}

struct Scene {
    name: &'static str,
    content_type: &'static str,
    script: Script,
    until: Until,
    outcome: Outcome,
}

pub(super) async fn run<S: Subject>(subject: Candidate<'_, S>, checked: &mut Checked) {
    let mut scenes = plain();
    if S::FLAVOUR == Flavour::Http {
        scenes.extend(http());
        scenes.extend(grpc());
    }
    for scene in scenes {
        let name = scene.name;
        checked.row(name, play(subject, scene).await);
    }
    if S::FLAVOUR == Flavour::Http {
        for content_type in [HTTP, GRPC] {
            checked.row(
                format_args!("{content_type}, still streaming"),
                not_before_the_end(subject, content_type).await,
            );
        }
    }
}

fn scene(name: &'static str, script: Script, until: Until, outcome: Outcome) -> Scene {
    Scene {
        name,
        content_type: HTTP,
        script,
        until,
        outcome,
    }
}

/// What is so without a look at the response.
fn plain() -> Vec<Scene> {
    let answer = || Script::ok(MockBody::full("hello"));
    vec![
        scene("answered", answer(), Until::End, Outcome::Success),
        scene("failed", Script::fail(ERROR), Until::End, Outcome::Failure),
        scene(
            "dropped before the answer",
            Script::never(),
            Until::Asked,
            Outcome::Cancelled,
        ),
    ]
}

fn http() -> Vec<Scene> {
    let data = MockFrame::data;
    let status = |status| {
        let mut response = Response::new(MockBody::full("hello"));
        *response.status_mut() = status;
        Script::answer(response)
    };
    let body = |steps: Vec<MockFrame>| Script::ok(MockBody::of(steps));
    let hidden = MockBody::of([data("a"), data("b")]).hiding_its_end();
    let announced = MockBody::of([data("a"), data("b")]).announcing_its_length();
    let goes_on = || body(vec![data("a"), data("b"), MockFrame::Stall]);
    vec![
        scene(
            "404",
            status(StatusCode::NOT_FOUND),
            Until::End,
            Outcome::Success,
        ),
        scene(
            "429",
            status(StatusCode::TOO_MANY_REQUESTS),
            Until::End,
            Outcome::Throttled,
        ),
        scene(
            "503",
            status(StatusCode::SERVICE_UNAVAILABLE),
            Until::End,
            Outcome::Failure,
        ),
        scene(
            "a stream to its end",
            Script::ok(hidden),
            Until::End,
            Outcome::Success,
        ),
        scene(
            "the announced length and no further",
            Script::ok(announced),
            Until::Frames(2),
            Outcome::Success,
        ),
        scene(
            "a body that breaks off",
            body(vec![data("a"), MockFrame::Error(ERROR)]),
            Until::End,
            Outcome::Failure,
        ),
        scene(
            "dropped with the head",
            goes_on(),
            Until::Head,
            Outcome::Cancelled,
        ),
        scene(
            "dropped half-way",
            goes_on(),
            Until::Frames(2),
            Outcome::Cancelled,
        ),
    ]
}

fn grpc() -> Vec<Scene> {
    let message = || MockFrame::data("message");
    let speaks = |content_type, body| {
        let mut response = Response::new(body);
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        Script::answer(response)
    };
    let answer = |body| speaks(GRPC, body);
    let status = |code| {
        let trailer = MockFrame::trailer("grpc-status", code);
        answer(MockBody::of([message(), MockFrame::Pending, trailer]))
    };
    let at_once = |code| {
        let mut response = Response::new(MockBody::empty());
        response.headers_mut().insert(
            HeaderName::from_static("grpc-status"),
            HeaderValue::from_static(code),
        );
        Script::answer(response)
    };
    let none = MockBody::of([message()]);
    let empty = MockBody::of([message(), MockFrame::trailer("x-check", "1")]);
    let goes_on = MockBody::of([message(), MockFrame::Stall]);
    let json = MockBody::of([MockFrame::data("{}")]);
    let end = Until::End;
    let mut scenes = vec![
        scene("grpc-status 0", status("0"), end, Outcome::Success),
        scene("grpc-status 5", status("5"), end, Outcome::Success),
        scene("grpc-status 8", status("8"), end, Outcome::Throttled),
        scene("grpc-status 14", status("14"), end, Outcome::Failure),
        scene("trailers-only 0", at_once("0"), end, Outcome::Success),
        scene("trailers-only 14", at_once("14"), end, Outcome::Failure),
        scene("no trailers", answer(none), end, Outcome::Failure),
        scene("no grpc-status", answer(empty), end, Outcome::Failure),
        scene(
            "a gRPC call of a service that speaks none",
            speaks("application/json", json),
            end,
            Outcome::Success,
        ),
        scene(
            "a message and no more",
            answer(goes_on),
            Until::Frames(1),
            Outcome::Cancelled,
        ),
    ];
    for scene in &mut scenes {
        scene.content_type = GRPC;
    }
    scenes
}

async fn play<S: Subject>(subject: Candidate<'_, S>, scene: Scene) -> Found {
    let stage = Stage::admitting(subject, scene.script).await?;
    follow(&stage, scene.content_type, scene.until).await?;
    stage.told(1).await;
    // Whether and how often it is told is the business of another check.
    let told = stage.recorder.calls();
    match told
        .iter()
        .filter_map(|call| call.outcome)
        .find(|told| *told != scene.outcome)
    {
        None => Ok(()),
        Some(wrong) => Err(format!(
            "the outcome is {}, and told as {wrong}",
            scene.outcome
        )),
    }
}

async fn follow<S: Subject>(
    stage: &Stage<'_, S>,
    content_type: &'static str,
    until: Until,
) -> Found {
    let mut call = stage.call(stage.request_of(content_type)).await?;
    let frames = match until {
        Until::Asked => {
            stage.poll(1, &mut call).await?;
            // A call that had not begun would have no outcome.
            stage.driver.holds(|| stage.mock.called() == 1).await;
            return Ok(());
        }
        Until::Head => 0,
        Until::Frames(frames) => frames,
        Until::End => usize::MAX,
    };
    let Ok(response) = stage.head(&mut call).await? else {
        return Ok(());
    };
    let mut body = Box::pin(response.into_body());
    for _ in 0..frames {
        // Whether it comes at all is the business of another check.
        if body.is_end_stream() || !matches!(stage.frame(&mut body).await, Ok(Some(Ok(_)))) {
            break;
        }
    }
    Ok(())
}

async fn not_before_the_end<S: Subject>(
    subject: Candidate<'_, S>,
    content_type: &'static str,
) -> Found {
    let body = MockBody::of([MockFrame::data("a"), MockFrame::Stall]);
    let stage = Stage::admitting(subject, Script::ok(body)).await?;
    let mut call = stage.call(stage.request_of(content_type)).await?;
    let mut body = Box::pin(stage.response(&mut call).await?.into_body());
    let _ = stage.frame(&mut body).await;
    match stage.recorder.calls().first() {
        None => Ok(()),
        Some(told) => Err(format!("told before its end, as {:?}", told.outcome)),
    }
}
