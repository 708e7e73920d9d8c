use fusebox_core::{LayerKind, Rejection, RejectionKind};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::{Body, SizeHint};

use crate::{
    Checked, Flavour, Frames, MockBody, MockFrame, Script, Subject, body_to_frames,
    stage::{Candidate, Found, Stage},
};

#[derive(Clone, Debug, PartialEq)]
struct Marker(&'static str);

pub(super) async fn run<S: Subject>(subject: Candidate<'_, S>, checked: &mut Checked) {
    for (name, body) in bodies() {
        let found = request(subject, body.clone()).await;
        checked.row(format_args!("request with {name}"), found);
        let found = response(subject, body).await;
        checked.row(format_args!("response with {name}"), found);
    }
    checked.row("a body that goes on", stream(subject).await);
    checked.row("another layer's refusal", refusal(subject).await);
}

fn bodies() -> [(&'static str, MockBody); 5] {
    let data = MockFrame::data;
    let trailers = || {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        trailers.append("x-check", HeaderValue::from_static("1"));
        trailers.append("x-check", HeaderValue::from_static("2"));
        MockFrame::Trailers(trailers)
    };
    [
        ("no body", MockBody::empty()),
        ("a body of known length", MockBody::full("hello")),
        (
            "a body in pieces",
            MockBody::of([
                MockFrame::Pending,
                data("a"),
                MockFrame::Pending,
                data("bc"),
            ])
            .announcing_its_length(),
        ),
        (
            "a stream",
            MockBody::of([data("a"), MockFrame::Pending, data("bc")]).hiding_its_end(),
        ),
        (
            "trailers",
            MockBody::of([data("a"), data("bc"), MockFrame::Pending, trailers()]),
        ),
    ]
}

/// What the mock's body says and gives, as anyone would read it.
async fn expected(body: MockBody) -> Found<(SizeHint, bool, Frames)> {
    let (hint, end) = (body.size_hint(), body.is_end_stream());
    match body_to_frames(body).await {
        Ok(frames) => Ok((hint, end, frames)),
        Err(error) => Err(format!("the kit's own body failed: {error}")),
    }
}

async fn request<S: Subject>(subject: Candidate<'_, S>, body: MockBody) -> Found {
    let (hint, end, frames) = expected(body.clone()).await?;
    let stage = Stage::admitting(subject, Script::ok(MockBody::empty())).await?;

    let mut request = Request::new(body);
    *request.method_mut() = Method::PUT;
    *request.uri_mut() = http::Uri::from_static("https://shop.example/orders/7?page=2&q=%2F");
    *request.version_mut() = Version::HTTP_2;
    let headers = request.headers_mut();
    headers.append(header::ACCEPT, HeaderValue::from_static("text/html"));
    headers.append(header::ACCEPT, HeaderValue::from_static("text/plain"));
    if let Ok(opaque) = HeaderValue::from_bytes(b"caf\xe9") {
        headers.insert("x-opaque", opaque);
    }
    request.extensions_mut().insert(Marker("asked"));
    let request = stage.prepare(request);
    let (method, uri, version, headers) = (
        request.method().clone(),
        request.uri().clone(),
        request.version(),
        request.headers().clone(),
    );

    let _ = stage.exchange(request).await?;
    let calls = stage.mock.calls();
    let [call] = &*calls else {
        return Err(format!(
            "the inner service was called {} times",
            calls.len()
        ));
    };
    same("method", &method, &call.method)?;
    same("uri", &uri, &call.uri)?;
    same("version", &version, &call.version)?;
    same("headers", &headers, &call.headers)?;
    same(
        "extension",
        &Some(&Marker("asked")),
        &call.extensions.get::<Marker>(),
    )?;
    same("size hint", &Hint::of(&hint), &Hint::of(&call.size_hint))?;
    same("end of stream", &end, &call.is_end_stream)?;
    // A layer that looks into a request may cut its frames anew; the bytes are the same.
    same("data", &frames.bytes(), &call.body.bytes())?;
    same("trailers", &frames.trailers, &call.body.trailers)
}

async fn response<S: Subject>(subject: Candidate<'_, S>, body: MockBody) -> Found {
    let (hint, end, frames) = expected(body.clone()).await?;
    let mut answer = Response::new(body);
    *answer.status_mut() = StatusCode::CREATED;
    *answer.version_mut() = Version::HTTP_2;
    let headers = answer.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("accept"));
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    headers.insert("retry-after", HeaderValue::from_static("7"));
    let sent_headers = headers.clone();
    answer.extensions_mut().insert(Marker("answered"));
    let stage = Stage::admitting(subject, Script::answer(answer)).await?;

    let mut call = stage.call(stage.request()).await?;
    let response = stage.response(&mut call).await?;
    same("status", &StatusCode::CREATED, &response.status())?;
    same("version", &Version::HTTP_2, &response.version())?;
    same("headers", &sent_headers, response.headers())?;
    same(
        "extension",
        &Some(&Marker("answered")),
        &response.extensions().get::<Marker>(),
    )?;
    same(
        "rejection",
        &None,
        &response.extensions().get::<Rejection>(),
    )?;
    let body = response.body();
    same("size hint", &Hint::of(&hint), &Hint::of(&body.size_hint()))?;
    same("end of stream", &end, &body.is_end_stream())?;
    let read = stage.read(response).await?;
    same("frames", &frames.data, &read.frames.data)?;
    same("trailers", &frames.trailers, &read.frames.trailers)?;
    match read.error {
        None => Ok(()),
        Some(error) => Err(format!("the body failed: {error}")),
    }
}

/// Whoever streams events must not wait for the end of the stream to see the first.
async fn stream<S: Subject>(subject: Candidate<'_, S>) -> Found {
    let body = MockBody::of([MockFrame::data("first"), MockFrame::Stall]);
    let stage = Stage::admitting(subject, Script::ok(body)).await?;
    let mut call = stage.call(stage.request()).await?;
    let mut body = Box::pin(stage.response(&mut call).await?.into_body());
    match stage.frame(&mut body).await? {
        Some(Ok(frame)) => same(
            "first frame",
            &Some("first".into()),
            &frame.into_data().ok(),
        ),
        Some(Err(error)) => Err(format!("the body failed: {error}")),
        None => Err("the body is over before its first frame".to_owned()),
    }
}

/// What an inner layer refused stays that layer's refusal.
async fn refusal<S: Subject>(subject: Candidate<'_, S>) -> Found {
    if S::FLAVOUR == Flavour::Plain {
        return Ok(());
    }
    let inner = Rejection::new(
        LayerKind::Other("some inner layer"),
        "inner".into(),
        RejectionKind::QuotaExceeded,
    );
    let mut answer = Response::new(MockBody::full("come back later"));
    *answer.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    answer.extensions_mut().insert(inner.clone());
    let stage = Stage::admitting(subject, Script::answer(answer)).await?;
    let mut call = stage.call(stage.request()).await?;
    let response = stage.response(&mut call).await?;
    same("rejection", &Some(&inner), &response.extensions().get())
}

/// `SizeHint` without `PartialEq`.
#[derive(Debug, PartialEq)]
struct Hint(u64, Option<u64>);

impl Hint {
    fn of(hint: &SizeHint) -> Self {
        Self(hint.lower(), hint.upper())
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, before: &T, after: &T) -> Found {
    if before == after {
        Ok(())
    } else {
        Err(format!("the {what} was {before:?} and is {after:?}"))
    }
}
