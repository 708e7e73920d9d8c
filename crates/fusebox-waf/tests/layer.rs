//! What a caller, an inner service and an operator see of the firewall.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's helpers fail by panicking too"
)]

use std::convert::Infallible;
use std::io::Write as _;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use fusebox_core::{Mode, Outcome, Registration, Rejection, RejectionKind, Verdict};
use fusebox_testkit::{MockBody, MockError, MockFrame, MockHandle, MockService, Recorder, Script};
use fusebox_waf::{
    Compressed, ConfigError, Incident, OverLimit, OverTime, Ruleset, RulesetBuilder, core, rule,
    tag,
};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceExt};

const RULES: &str = r#"
SecRuleEngine On
SecRequestBodyAccess On
SecRequestBodyNoFilesLimit 10000000
SecRule REQUEST_HEADERS:Content-Type "@rx json" "id:10,phase:1,pass,nolog,ctl:requestBodyProcessor=JSON"
SecRule REQUEST_HEADERS:X-Attack "@streq now" "id:1,phase:1,deny,status:403,msg:'An attack',severity:'CRITICAL'"
SecRule ARGS "@contains evil" "id:2,phase:2,deny,status:406,msg:'Evil',tag:'test/evil'"
SecRule ARGS:go "@streq away" "id:3,phase:2,redirect:https://elsewhere.example/"
SecRule ARGS:log "@streq me" "id:4,phase:2,pass,log,msg:'Seen'"
SecRule RESPONSE_HEADERS:X-Leak "@streq now" "id:5,phase:3,deny,status:502"
SecRule RESPONSE_BODY "@contains secret" "id:6,phase:4,deny,status:500"
SecRule REQUEST_HEADERS:X-Drop "@streq now" "id:7,phase:1,drop"
"#;

fn settings() -> RulesetBuilder {
    Ruleset::builder("test")
        .text("rules.conf", RULES)
        .registration(Registration::Unlisted)
}

fn mock() -> MockHandle {
    MockService::new(Script::ok(MockBody::full("hello"))).handle()
}

fn form(body: MockBody) -> Request<MockBody> {
    Request::post("/form")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body)
        .unwrap()
}

async fn send(
    settings: RulesetBuilder,
    mock: &MockHandle,
    request: Request<MockBody>,
) -> Response<fusebox_waf::ResponseBody<MockBody>> {
    let layer = settings.build().unwrap().layer();
    layer.layer(mock.service()).oneshot(request).await.unwrap()
}

#[tokio::test]
async fn an_attack_in_the_head_is_refused_before_a_byte_of_the_body_is_read() {
    let mock = mock();
    // Reading it would panic.
    let mut request = form(MockBody::of([MockFrame::Panic]));
    request
        .headers_mut()
        .insert("x-attack", "now".parse().unwrap());
    let answer = send(settings(), &mock, request).await;
    assert_eq!(answer.status(), 403);
    assert_eq!(mock.called(), 0);
    assert_eq!(kind(&answer), RejectionKind::Forbidden);
}

fn kind<B>(answer: &Response<B>) -> RejectionKind {
    answer.extensions().get::<Rejection>().unwrap().kind()
}

#[tokio::test]
async fn a_refusal_names_the_request_and_nothing_else() {
    let mut request = form(MockBody::full("q=evil"));
    request
        .headers_mut()
        .insert("x-request-id", "abc-123".parse().unwrap());
    let answer = send(settings(), &mock(), request).await;
    assert_eq!(answer.status(), 406);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    assert_eq!(answer.headers()["x-request-id"], "abc-123");
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(problem["status"], 406);
    assert_eq!(problem["request_id"], "abc-123");
    let text = String::from_utf8(body.to_vec()).unwrap();
    assert!(!text.contains("Evil") && !text.contains("evil"), "{text}");
}

#[tokio::test]
async fn an_id_that_is_none_is_not_repeated() {
    for id in ["<script>", "", &"x".repeat(65), "a b"] {
        let mut request = form(MockBody::full("q=evil"));
        request
            .headers_mut()
            .insert("x-request-id", id.parse().unwrap());
        let answer = send(settings(), &mock(), request).await;
        let given = answer.headers()["x-request-id"].to_str().unwrap();
        assert_ne!(given, id);
        assert!(given.len() >= 24, "{given}");
    }
}

#[tokio::test]
async fn a_grpc_call_is_refused_in_its_own_language_and_never_buffered() {
    let mock = mock();
    let call = |body| {
        Request::post("/shop.Orders/Watch")
            .header("content-type", "application/grpc")
            .body(body)
            .unwrap()
    };
    let mut request = call(MockBody::empty());
    request
        .headers_mut()
        .insert("x-attack", "now".parse().unwrap());
    let answer = send(settings(), &mock, request).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["grpc-status"], "7");
    assert_eq!(mock.called(), 0);

    let service = settings().build().unwrap().layer().layer(mock.service());
    let mut future = pin!(service.oneshot(call(MockBody::of([MockFrame::Stall]))));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(future.as_mut().poll(&mut cx).is_pending());
    assert_eq!(mock.called(), 1, "the call is made while its body is open");
}

#[tokio::test]
async fn an_attack_cut_into_frames_is_found_and_never_reaches_the_service() {
    let mock = mock();
    let frames = ["q=", "e", "v", "il"].map(MockFrame::data);
    let answer = send(settings(), &mock, form(MockBody::of(frames))).await;
    assert_eq!(answer.status(), 406);
    assert_eq!(mock.called(), 0);
}

#[tokio::test]
async fn a_redirect_and_a_drop_are_answers() {
    let answer = send(settings(), &mock(), form(MockBody::full("go=away"))).await;
    assert_eq!(answer.status(), 302);
    assert_eq!(answer.headers()["location"], "https://elsewhere.example/");
    for (version, closes) in [
        (http::Version::HTTP_11, true),
        (http::Version::HTTP_2, false),
    ] {
        let mut request = form(MockBody::empty());
        *request.version_mut() = version;
        request
            .headers_mut()
            .insert("x-drop", "now".parse().unwrap());
        let answer = send(settings(), &mock(), request).await;
        assert_eq!(answer.status(), 403);
        assert_eq!(answer.headers().contains_key("connection"), closes);
    }
}

#[tokio::test]
async fn what_is_refused_for_its_form_is_no_attack() {
    let long = form(MockBody::full("q=123456789"));
    let short = || settings().request_body(8, OverLimit::Refuse);
    let answer = send(short(), &mock(), long).await;
    assert_eq!(kind(&answer), RejectionKind::TooLarge);

    let rules = settings().text("small", "SecRequestBodyNoFilesLimit 4");
    let answer = send(rules, &mock(), form(MockBody::full("q=12345"))).await;
    assert_eq!(answer.status(), 413);
    assert_eq!(kind(&answer), RejectionKind::TooLarge);

    let mut coded = form(MockBody::full("q=1"));
    coded
        .headers_mut()
        .insert("content-encoding", "br".parse().unwrap());
    let answer = send(settings(), &mock(), coded).await;
    assert_eq!(kind(&answer), RejectionKind::Unsupported);

    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(problem["code"], "unsupported");
}

#[tokio::test]
async fn a_body_that_is_announced_too_long_is_refused_unread() {
    let body =
        MockBody::of([MockFrame::data("q=123456789"), MockFrame::Panic]).announcing_its_length();
    let mock = mock();
    let settings = settings().request_body(8, OverLimit::Refuse);
    let answer = send(settings, &mock, form(body)).await;
    assert_eq!((answer.status().as_u16(), mock.called()), (413, 0));
}

#[tokio::test]
async fn a_body_that_turns_out_too_long_is_refused_where_that_shows() {
    let body = MockBody::of([
        MockFrame::data("q=1234"),
        MockFrame::data("567"),
        MockFrame::Panic,
    ]);
    let mock = mock();
    let settings = settings().request_body(8, OverLimit::Refuse);
    let answer = send(settings, &mock, form(body)).await;
    assert_eq!((answer.status().as_u16(), mock.called()), (413, 0));
}

#[tokio::test]
async fn of_a_long_body_the_first_part_is_inspected_and_the_rest_streams() {
    let limited = || settings().request_body(8, OverLimit::InspectFirstPart);
    let mock = mock();
    let body = MockBody::of([
        MockFrame::data("q=1234"),
        MockFrame::data("567evil"),
        MockFrame::Pending,
        MockFrame::data("more"),
        MockFrame::trailer("x-sum", "1"),
    ]);
    let answer = send(limited(), &mock, form(body)).await;
    assert_eq!(answer.status(), 200);
    let calls = mock.calls();
    assert_eq!(calls[0].body.bytes(), b"q=1234567evilmore");
    assert_eq!(calls[0].body.trailers.as_ref().unwrap()["x-sum"], "1");

    let early = MockBody::of(["q=evil", "12345678"].map(MockFrame::data));
    assert_eq!(send(limited(), &mock, form(early)).await.status(), 406);
}

#[tokio::test]
async fn a_compressed_body_is_refused_or_passed_by_choice() {
    let gzip = || {
        let mut request = form(MockBody::full("q=evil"));
        request
            .headers_mut()
            .insert("content-encoding", "gzip".parse().unwrap());
        request
    };
    let mock = mock();
    assert_eq!(send(settings(), &mock, gzip()).await.status(), 415);
    assert_eq!(mock.called(), 0);
    let passing = settings().compressed(Compressed::Pass);
    assert_eq!(send(passing, &mock, gzip()).await.status(), 200);
}

fn gzip(text: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap().into()
}

#[tokio::test]
async fn a_compressed_body_is_inspected_unpacked_and_replayed_packed() {
    let coded = |body: Bytes| {
        let (first, second) = body.split_at(body.len() / 2);
        let frames = [first, second].map(|part| MockFrame::Data(Bytes::copy_from_slice(part)));
        let mut request = form(MockBody::of(frames));
        request
            .headers_mut()
            .insert("content-encoding", "gzip".parse().unwrap());
        request
    };
    let decoding = || settings().compressed(Compressed::DECODE);
    let mock = mock();
    let answer = send(decoding(), &mock, coded(gzip(b"q=1&p=evil"))).await;
    assert_eq!((answer.status().as_u16(), mock.called()), (406, 0));

    let body = gzip(b"q=1&p=good");
    let answer = send(decoding(), &mock, coded(body.clone())).await;
    assert_eq!(answer.status(), 200);
    let calls = mock.calls();
    assert_eq!(calls[0].body.bytes(), body, "as it was sent");
    assert_eq!(calls[0].headers["content-encoding"], "gzip");

    let cut = body.slice(..body.len() - 1);
    let answer = send(decoding(), &mock, coded(cut)).await;
    assert_eq!(answer.status(), 400);
    assert_eq!(kind(&answer), RejectionKind::Unsupported);

    // Two megabytes of one letter in two kilobytes; and half a megabyte, within the limit and beyond the ratio.
    for (letters, ratio) in [(2 << 20, 1_032), (1 << 19, 100)] {
        let bomb = gzip(&vec![b'a'; letters]);
        let decoding = settings().compressed(Compressed::Decode { ratio });
        let answer = send(decoding, &mock, coded(bomb)).await;
        assert_eq!(answer.status(), 413);
        assert_eq!(kind(&answer), RejectionKind::TooLarge);
    }
    assert_eq!(mock.called(), 1);
}

#[tokio::test]
async fn of_a_compressed_body_the_first_part_is_inspected_and_all_of_it_is_handed_on() {
    let letters = gzip(&vec![b'a'; 1 << 19]);
    let mut request = form(MockBody::of([MockFrame::Data(letters.clone())]));
    request
        .headers_mut()
        .insert("content-encoding", "x-gzip".parse().unwrap());
    let decoding = settings()
        .compressed(Compressed::Decode { ratio: 1_032 })
        .request_body(100_000, OverLimit::InspectFirstPart);
    let mock = mock();
    assert_eq!(send(decoding, &mock, request).await.status(), 200);
    assert_eq!(mock.calls()[0].body.bytes(), letters);
}

#[tokio::test]
async fn what_no_rule_can_read_streams() {
    let mock = mock();
    let service = settings().build().unwrap().layer().layer(mock.service());
    let request = Request::post("/upload")
        .header("content-type", "image/png")
        .body(MockBody::of([MockFrame::data("evil"), MockFrame::Stall]))
        .unwrap();
    let mut future = pin!(service.oneshot(request));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(future.as_mut().poll(&mut cx).is_pending());
    assert_eq!(mock.called(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_is_refused_at_the_deadline() {
    let mock = mock();
    let body = MockBody::of([MockFrame::data("q="), MockFrame::Stall]);
    let settings = settings()
        .body_deadline(Duration::from_secs(10))
        .body_rate(1, Duration::from_secs(60));
    let start = tokio::time::Instant::now();
    let answer = send(settings, &mock, form(body)).await;
    assert_eq!((answer.status().as_u16(), mock.called()), (408, 0));
    assert_eq!(start.elapsed().as_secs(), 10);
}

/// A byte each second, for ever.
struct Drip(tokio::time::Interval);

impl http_body::Body for Drip {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        self.0
            .poll_tick(cx)
            .map(|_| Some(Ok(http_body::Frame::data("x".into()))))
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_drips_is_refused_when_it_falls_behind_its_rate() {
    let settings = settings()
        .body_deadline(Duration::from_secs(3_000))
        .body_rate(10, Duration::from_secs(5));
    let service = settings.build().unwrap().layer().layer(mock().service());
    let drip = Drip(tokio::time::interval(Duration::from_secs(1)));
    let start = tokio::time::Instant::now();
    let request = Request::post("/").header("content-type", "application/json");
    let answer = service.oneshot(request.body(drip).unwrap()).await.unwrap();
    assert_eq!(answer.status(), 408);
    // Six bytes after five seconds, worth 0.6 seconds more.
    assert!(
        (5..=6).contains(&start.elapsed().as_secs()),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn a_body_that_breaks_off_is_inspected_and_handed_on_with_its_error() {
    let error = MockFrame::Error(MockError("reset"));
    let mock = mock();
    let body = MockBody::of([MockFrame::data("q=evil"), error.clone()]);
    assert_eq!(send(settings(), &mock, form(body)).await.status(), 406);

    let seen = Arc::new(Mutex::new(None));
    let inner = {
        let seen = seen.clone();
        tower::service_fn(
            move |request: Request<fusebox_waf::InspectedBody<MockBody>>| {
                let seen = seen.clone();
                async move {
                    let mut body = request.into_body();
                    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
                    let then = body.frame().await.unwrap().unwrap_err();
                    *seen.lock().unwrap() = Some((first, then, body.frame().await.is_none()));
                    Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
                }
            },
        )
    };
    let body = MockBody::of([MockFrame::data("q=good"), error]);
    let layer = settings().build().unwrap().layer();
    let _ = layer.layer(inner).oneshot(form(body)).await.unwrap();
    let seen = seen.lock().unwrap().take().unwrap();
    assert_eq!(seen, (Bytes::from("q=good"), MockError("reset"), true));
}

#[tokio::test]
async fn a_long_inspection_lets_others_run_and_is_bounded() {
    let long: &'static str = Box::leak(format!("q={}", "a+b".repeat(30_000)).into_boxed_str());
    // Each has to look at all of it, and then matches.
    let slow: String = (20..50)
        .map(|id| {
            format!(
                "SecRule ARGS:q \"@rx ^(?:a.b)+(?:x{{{id}}})?$\" \"id:{id},phase:2,pass,nolog\"\n"
            )
        })
        .collect();
    let rules = || settings().text("slow.conf", &slow);
    let mock = mock();
    let service = rules().build().unwrap().layer().layer(mock.service());
    let mut polls = 0;
    let mut future = pin!(service.oneshot(form(MockBody::full(long))));
    let answer = std::future::poll_fn(|cx| {
        polls += 1;
        future.as_mut().poll(cx)
    })
    .await
    .unwrap();
    assert_eq!(answer.status(), 200);
    assert!(polls > 3, "{polls} polls");

    let impatient = |over| rules().time_budget(Duration::from_nanos(1), over);
    let refused = send(
        impatient(OverTime::Refuse),
        &mock,
        form(MockBody::full(long)),
    )
    .await;
    assert_eq!(refused.status(), 503);
    let passed = send(impatient(OverTime::Pass), &mock, form(MockBody::full(long))).await;
    assert_eq!(passed.status(), 200);
}

#[tokio::test]
async fn shadow_lets_through_and_tells_apart() {
    let rules = settings().mode(Mode::Shadow).build().unwrap();
    let mock = mock();
    let service = rules.layer().layer(mock.service());
    for expected in [200, 406] {
        let answer = service
            .clone()
            .oneshot(form(MockBody::full("q=evil")))
            .await;
        let answer = answer.unwrap();
        assert_eq!(answer.status(), expected);
        let _ = answer.into_body().collect().await;
        rules.set_mode(Mode::Enforce);
    }
    assert_eq!(mock.calls()[0].body.bytes(), b"q=evil");
    let stats = rules.stats();
    assert_eq!((stats.detected(), stats.refused()), (2, 1));
    assert_eq!(rules.hits(), [(2, 2)]);
}

#[tokio::test]
async fn a_percentage_acts_on_its_share_and_detects_all() {
    let rules = settings()
        .mode(Mode::percentage(25).unwrap())
        .build()
        .unwrap();
    let mock = mock();
    let service = rules.layer().layer(mock.service());
    let mut refused = 0_u64;
    for _ in 0..400 {
        let answer = service
            .clone()
            .oneshot(form(MockBody::full("q=evil")))
            .await;
        let answer = answer.unwrap();
        refused += u64::from(answer.status() == 406);
        let _ = answer.into_body().collect().await;
    }
    assert!((90..=110).contains(&refused), "{refused} of 400");
    assert_eq!(mock.called() as u64, 400 - refused);
    let stats = rules.stats();
    assert_eq!((stats.detected(), stats.refused()), (400, refused));
    assert_eq!(rules.hits(), [(2, 400)]);
}

#[tokio::test]
async fn rules_that_only_detect_are_told_as_shadowed() {
    let rules = settings()
        .text("detect", "SecRuleEngine DetectionOnly")
        .build()
        .unwrap();
    let answer = rules
        .layer()
        .layer(mock().service())
        .oneshot(form(MockBody::full("q=evil")));
    assert_eq!(answer.await.unwrap().status(), 200);
    let stats = rules.stats();
    assert_eq!((stats.detected(), stats.refused()), (1, 0));
}

#[tokio::test]
async fn rules_that_only_detect_go_on_with_the_response() {
    let detecting = settings()
        .text("detect", "SecRuleEngine DetectionOnly")
        .responses(64, OverLimit::Refuse);
    let (detecting, heard) = listening(detecting);
    let mock = answering(MockBody::full("secret"), "text/html");
    let rules = detecting.build().unwrap();
    let service = rules.layer().layer(mock.service());
    let answer = service.oneshot(form(MockBody::full("q=evil"))).await;
    let body = answer.unwrap().into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes(), "secret");
    let heard = heard.lock().unwrap();
    let (decision, findings) = &heard[0];
    assert_eq!(*decision, Some((2, false)), "the first that decided");
    let ids: Vec<_> = findings.iter().map(|(id, ..)| *id).collect();
    assert_eq!((ids, heard.len()), (vec![2, 6], 1));
    assert_eq!((rules.stats().detected(), rules.stats().refused()), (1, 0));
}

#[tokio::test]
async fn what_matched_before_the_client_went_away_is_told() {
    let early = r#"SecRule REQUEST_METHOD "@streq POST" "id:20,phase:1,pass,log,msg:'Post'""#;
    let (settings, heard) = listening(settings().text("early.conf", early));
    let service = settings.build().unwrap().layer().layer(mock().service());
    let request = form(MockBody::of([MockFrame::data("q="), MockFrame::Stall]));
    let mut future = Box::pin(service.oneshot(request));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(future.as_mut().poll(&mut cx).is_pending());
    drop(future);
    let heard = heard.lock().unwrap();
    assert_eq!(heard.len(), 1);
    assert_eq!((heard[0].0, heard[0].1[0].0), (None, 20));
}

#[tokio::test]
async fn rules_are_swapped_while_a_request_is_under_inspection() {
    let rules = settings().build().unwrap();
    let mock = mock();
    let service = rules.layer().layer(mock.service());
    let body = MockBody::of([
        MockFrame::data("q="),
        MockFrame::Pending,
        MockFrame::data("evil"),
    ]);
    let mut future = pin!(service.clone().oneshot(form(body)));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(future.as_mut().poll(&mut cx).is_pending());
    rules.swap(
        Ruleset::builder("none")
            .text("x", "SecRuleEngine On")
            .compile()
            .unwrap(),
    );
    assert_eq!(
        future.await.unwrap().status(),
        406,
        "it ends with what it began with"
    );
    let next = service
        .oneshot(form(MockBody::full("q=evil")))
        .await
        .unwrap();
    assert_eq!(next.status(), 200);
}

type Heard = Arc<Mutex<Vec<(Option<(u32, bool)>, Vec<(u32, String, Option<String>)>)>>>;

fn listening(settings: RulesetBuilder) -> (RulesetBuilder, Heard) {
    let heard = Heard::default();
    let listener = {
        let heard = heard.clone();
        move |incident: &Incident<'_>| {
            let decision = incident
                .decision
                .map(|decided| (decided.rule_id, decided.enforced));
            let findings = incident.findings.iter();
            let findings = findings.map(|f| (f.rule_id, f.target.clone(), f.value.clone()));
            heard.lock().unwrap().push((decision, findings.collect()));
        }
    };
    (settings.on_incident(Arc::new(listener)), heard)
}

#[tokio::test]
async fn an_incident_is_told_once_and_without_values_unless_asked() {
    for reveals in [false, true] {
        let (settings, heard) = listening(settings().reveal_values(reveals));
        let layer = settings.build().unwrap().layer();
        for body in ["q=fine", "log=me", "log=me&q=evil"] {
            let service = layer.layer(mock().service());
            let _ = service.oneshot(form(MockBody::full(body))).await.unwrap();
        }
        let value = |text: &str| reveals.then(|| text.to_owned());
        let seen = (4, "ARGS:log".to_owned(), value("me"));
        let evil = (2, "ARGS:q".to_owned(), value("evil"));
        let heard = heard.lock().unwrap();
        assert_eq!(heard.len(), 2);
        assert_eq!(heard[0], (None, vec![seen]));
        // Rule 2 stands before rule 4, and ends the inspection.
        assert_eq!(heard[1], (Some((2, true)), vec![evil]));
    }
}

#[tokio::test]
async fn a_host_that_is_not_the_one_of_the_target_is_a_second_one() {
    let two = r#"SecRule &REQUEST_HEADERS:Host "@gt 1" "id:20,phase:1,deny,status:421""#;
    let status = async |uri: &str, host: Option<&str>| {
        let mut request = Request::get(uri).version(http::Version::HTTP_2);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        let request = request.body(MockBody::empty()).unwrap();
        let answer = send(settings().text("two.conf", two), &mock(), request).await;
        answer.status().as_u16()
    };
    assert_eq!(status("https://shop.example/", None).await, 200);
    assert_eq!(
        status("https://shop.example/", Some("Shop.example")).await,
        200
    );
    assert_eq!(
        status("https://me@shop.example/", Some("shop.example")).await,
        200
    );
    assert_eq!(status("/", Some("shop.example")).await, 200);
    assert_eq!(
        status("https://shop.example/", Some("admin.example")).await,
        421
    );
}

#[tokio::test]
async fn exclusions_hold_where_they_say_and_nowhere_else() {
    let sent = async |settings: RulesetBuilder, path: &str, body: &'static str| {
        let mut request = form(MockBody::full(body));
        *request.uri_mut() = path.parse().unwrap();
        send(settings, &mock(), request).await.status().as_u16()
    };
    let on = || settings().exclude(rule(2).on_path("/form").argument("q"));
    assert_eq!(sent(on(), "/form", "q=evil").await, 200);
    assert_eq!(sent(on(), "/form", "p=evil").await, 406);
    assert_eq!(sent(on(), "/form/x", "q=evil").await, 406);
    let under = || settings().exclude(tag("test/evil").under_path("/cms.d/"));
    assert_eq!(sent(under(), "/cms.d", "q=evil").await, 200);
    assert_eq!(sent(under(), "/cms.d/page", "q=evil").await, 200);
    assert_eq!(sent(under(), "/cmsxd/page", "q=evil").await, 406);
    assert_eq!(sent(under(), "/cms.dx", "q=evil").await, 406);
    assert_eq!(sent(under(), "/cms.d/../form", "q=evil").await, 406);
    assert_eq!(sent(under(), "/cms.d/%2e%2e/form", "q=evil").await, 406);
    let everywhere = || settings().exclude(rule(2));
    assert_eq!(sent(everywhere(), "/any", "q=evil").await, 200);
    let header = settings().exclude(rule(1).header("X-Attack"));
    let mut request = form(MockBody::empty());
    request
        .headers_mut()
        .insert("x-attack", "now".parse().unwrap());
    assert_eq!(send(header, &mock(), request).await.status(), 200);
}

#[tokio::test]
async fn a_field_of_a_form_can_be_left_to_itself_by_the_built_in_rules() {
    let mut rules = Ruleset::builder("cms")
        .core()
        .registration(Registration::Unlisted);
    for kind in core::TAGS {
        rules = rules.exclude(tag(kind).under_path("/cms").argument("html"));
    }
    let attack = "<script>alert(document.cookie)</script><?php system('cat /etc/passwd'); ?>";
    for (path, field, status) in [
        ("/cms/page", "html", 200),
        ("/cms/page", "title", 403),
        ("/shop", "html", 403),
    ] {
        let request = Request::post(path)
            .header("host", "shop.example")
            .header("user-agent", "Mozilla/5.0")
            .header("accept", "*/*")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(MockBody::of([MockFrame::Data(
                format!("{field}={attack}").into(),
            )]))
            .unwrap();
        let answer = send(rules.clone(), &mock(), request).await;
        assert_eq!(answer.status(), status, "{path} {field}");
    }
}

fn answering(body: MockBody, kind: &'static str) -> MockHandle {
    let answer = Response::builder()
        .header("content-type", kind)
        .body(body)
        .unwrap();
    MockService::new(Script::answer(answer)).handle()
}

#[tokio::test]
async fn a_response_is_inspected_where_it_was_asked_for() {
    let looking = || settings().responses(64, OverLimit::InspectFirstPart);
    let leak = || MockBody::of(["the sec", "ret"].map(MockFrame::data));
    let request = || form(MockBody::full("q=1"));
    let status =
        async |settings, mock: MockHandle| send(settings, &mock, request()).await.status().as_u16();
    assert_eq!(
        status(looking(), answering(leak(), "text/html; charset=utf-8")).await,
        500
    );
    assert_eq!(status(looking(), answering(leak(), "image/png")).await, 200);
    assert_eq!(
        status(looking(), answering(leak(), "text/event-stream")).await,
        200
    );
    assert_eq!(
        status(settings(), answering(leak(), "text/html")).await,
        200
    );

    let mut answer = Response::new(MockBody::full("x"));
    answer
        .headers_mut()
        .insert("x-leak", "now".parse().unwrap());
    let mock = MockService::new(Script::answer(answer)).handle();
    let refused = send(looking(), &mock, request()).await;
    assert_eq!(refused.status(), 502);
    assert_eq!(kind(&refused), RejectionKind::Withheld);
}

/// Its head is refused, or its body is, wherever that ends: the call was made.
#[tokio::test(start_paused = true)]
async fn a_withheld_answer_is_told_with_the_outcome_of_the_call() {
    let answer = |status: u16, leaks: bool, body: MockBody| {
        let mut answer = Response::builder().status(status);
        answer = answer.header("content-type", "text/html");
        if leaks {
            answer = answer.header("x-leak", "now");
        }
        answer.body(body).unwrap()
    };
    let data = |text| MockFrame::data(text);
    let error = MockFrame::Error(MockError("reset"));
    let long = [data("a secret of some length"), data("more"), data("more")];
    for (what, answer, outcome) in [
        (
            "a head",
            answer(200, true, MockBody::full("x")),
            Outcome::Cancelled,
        ),
        (
            "a failure",
            answer(503, true, MockBody::full("x")),
            Outcome::Failure,
        ),
        (
            "a whole body",
            answer(200, false, MockBody::full("secret")),
            Outcome::Success,
        ),
        (
            "a broken body",
            answer(200, false, MockBody::of([data("secret"), error])),
            Outcome::Failure,
        ),
        (
            "a body that is cut",
            answer(200, false, MockBody::of(long)),
            Outcome::Cancelled,
        ),
    ] {
        let recorder = Recorder::new();
        let rules = settings()
            .responses(20, OverLimit::Refuse)
            .observer(recorder.clone())
            .build()
            .unwrap();
        let mut answer = Some(answer);
        let slow = tower::service_fn(move |_| {
            let answer = answer.take();
            async move {
                tokio::time::sleep(Duration::from_secs(2)).await;
                Ok::<_, Infallible>(answer.unwrap())
            }
        });
        let service = rules.layer().layer(slow);
        let refused = service.oneshot(form(MockBody::full("q=1"))).await.unwrap();
        assert_eq!(kind(&refused), RejectionKind::Withheld, "{what}");
        let calls = recorder.calls();
        let [call] = calls.as_slice() else {
            panic!("{what}: {calls:?}");
        };
        assert_eq!(
            call.verdict,
            Verdict::Refused {
                kind: RejectionKind::Withheld,
                enforced: true
            },
            "{what}"
        );
        assert_eq!(call.outcome, Some(outcome), "{what}");
        assert_eq!(call.ran, Duration::from_secs(2), "{what}");
        let stats = rules.stats();
        assert_eq!((stats.refused(), stats.ended()), (1, 1), "{what}");
    }
}

#[tokio::test]
async fn a_response_under_inspection_arrives_as_it_was_sent() {
    let frames = [
        MockFrame::data("a"),
        MockFrame::Pending,
        MockFrame::data("bc"),
        MockFrame::trailer("x-sum", "1"),
    ];
    let mock = answering(MockBody::of(frames), "text/html");
    for (limit, over) in [(64, OverLimit::Refuse), (2, OverLimit::InspectFirstPart)] {
        let looking = settings().responses(limit, over);
        let answer = send(looking, &mock, form(MockBody::empty())).await;
        let body = answer.into_body().collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()["x-sum"], "1");
        assert_eq!(body.to_bytes(), "abc");
    }
    let strict = settings().responses(2, OverLimit::Refuse);
    let refused = send(strict, &mock, form(MockBody::empty())).await;
    assert_eq!(refused.status(), 500);
}

#[test]
fn settings_that_cannot_be_are_named() {
    let error = |settings: RulesetBuilder| settings.compile().unwrap_err();
    assert_eq!(
        error(Ruleset::builder("none")).to_string(),
        "rules: must be set"
    );
    let error_of = |settings| error(settings).to_string();
    for (settings, field) in [
        (
            settings().body_rate(0, Duration::from_secs(1)),
            "body_rate.bytes_per_second: ",
        ),
        (settings().body_deadline(Duration::ZERO), "body_deadline: "),
        (
            settings().time_budget(Duration::MAX, OverTime::Pass),
            "time_budget.budget: ",
        ),
        (
            settings().responses(0, OverLimit::Refuse),
            "responses.limit: ",
        ),
        (
            settings().compressed(Compressed::Decode { ratio: 0 }),
            "compressed.ratio: ",
        ),
        (
            settings().exclude(rule(1).on_path("x")),
            "exclude.on_path: ",
        ),
    ] {
        let said = error_of(settings);
        assert!(said.starts_with(field), "{said}");
    }
    assert!(matches!(
        error(settings().text("bad", "SecRule")),
        ConfigError::Rules(_)
    ));
}

#[tokio::test]
async fn with_the_built_in_rules_a_long_text_passes_in_part_and_cut_json_is_malformed() {
    for (kind, start, repeated, end, status) in [
        (
            "application/x-www-form-urlencoded",
            "q=red",
            "+shoes",
            "",
            200,
        ),
        ("text/plain", "red", " shoes", "", 200),
        ("application/json", "[0", ",1", "]", 400),
    ] {
        let text = format!("{start}{}{end}", repeated.repeat(100));
        let request = Request::post("/import")
            .header("host", "shop.example")
            .header("user-agent", "Mozilla/5.0")
            .header("accept", "*/*")
            .header("content-type", kind)
            .body(MockBody::full(Box::leak(text.clone().into_boxed_str())))
            .unwrap();
        let rules = Ruleset::builder("core")
            .core()
            .request_body(100, OverLimit::InspectFirstPart)
            .registration(Registration::Unlisted);
        let mock = mock();
        let answer = send(rules, &mock, request).await;
        assert_eq!(answer.status(), status, "{kind}");
        if status == 200 {
            assert_eq!(mock.calls()[0].body.bytes(), text.as_bytes(), "{kind}");
        }
    }
}

fn core_post(kind: &str, body: String) -> Request<MockBody> {
    Request::post("/import")
        .header("host", "shop.example")
        .header("user-agent", "Mozilla/5.0")
        .header("accept", "*/*")
        .header("content-type", kind)
        .body(MockBody::of([MockFrame::Data(body.into())]))
        .unwrap()
}

fn core_settings() -> RulesetBuilder {
    Ruleset::builder("core")
        .core()
        .registration(Registration::Unlisted)
}

#[tokio::test]
async fn a_body_that_is_not_what_it_says_is_refused_and_no_strike() {
    for (content_type, body) in [
        ("application/json", r#"{"a": "#),
        ("application/xml", "<a><b></a>"),
        ("multipart/form-data; boundary=x", "no part at all"),
    ] {
        let request = core_post(content_type, body.to_owned());
        let answer = send(core_settings(), &mock(), request).await;
        assert_eq!(answer.status(), 400, "{content_type}");
        assert_eq!(kind(&answer), RejectionKind::Unsupported, "{content_type}");
    }
}

#[tokio::test]
async fn with_the_built_in_rules_the_limit_is_the_one_that_is_set() {
    let note = format!(r#""{}","#, "two red shoes, please. ".repeat(100));
    let json = format!("[{}0]", note.repeat(390));
    let mock = mock();
    // Not the time either, where nothing is optimised and others compute as well.
    let patient = || core_settings().time_budget(Duration::from_secs(600), OverTime::Refuse);
    let answer = send(
        patient(),
        &mock,
        core_post("application/json", json.clone()),
    )
    .await;
    assert_eq!((answer.status().as_u16(), mock.called()), (200, 1));

    let small = patient().request_body(300_000, OverLimit::Refuse);
    let answer = send(small, &mock, core_post("application/json", json)).await;
    assert_eq!(answer.status(), 413);

    // Behind what was the limit of arguments alone.
    let late = format!(
        "a={}&q=1'+union+select+password+from+users--",
        "x".repeat(140_000)
    );
    let first_part = patient().request_body(1 << 20, OverLimit::InspectFirstPart);
    let answer = send(
        first_part,
        &mock,
        core_post("application/x-www-form-urlencoded", late),
    )
    .await;
    assert_eq!(answer.status(), 403);
}

#[tokio::test]
async fn what_was_found_before_the_time_ran_out_counts() {
    for (found, status) in [("5", 403), ("4", 200)] {
        // Behind the decision about the head.
        let found_in_head =
            format!("SecAction \"id:1,phase:1,pass,nolog,setvar:tx.fusebox_score=+{found}\"");
        let rules = Ruleset::builder("core")
            .core()
            .text("late", &found_in_head)
            .time_budget(Duration::from_nanos(1), OverTime::Pass)
            .registration(Registration::Unlisted);
        let text = "two red shoes, please. ".repeat(9_000);
        let answer = send(rules, &mock(), core_post("text/plain", text)).await;
        assert_eq!(answer.status(), status, "{found}");
    }
}

#[tokio::test]
async fn a_long_body_within_a_limit_that_was_raised_is_looked_at_to_its_end() {
    // Each has to look at all of it: more than the engine allows for bodies of the usual limit.
    let many: String = (20..60)
        .map(|id| {
            format!(
                "SecRule ARGS:q \"@rx ^(?:a.)+(?:x{{{id}}})?$\" \"id:{id},phase:2,pass,nolog\"\n"
            )
        })
        .collect();
    let long = format!("q={}tail", "a+".repeat(1 << 20));
    let rules = settings()
        .text("many", &many)
        .text(
            "last",
            r#"SecRule ARGS "@endsWith tail" "id:99,phase:2,deny,status:406""#,
        )
        .request_body(4 << 20, OverLimit::Refuse)
        .time_budget(Duration::from_secs(600), OverTime::Refuse);
    let body = MockBody::of([MockFrame::Data(long.into())]);
    let answer = send(rules, &mock(), form(body)).await;
    assert_eq!(answer.status(), 406);
}
