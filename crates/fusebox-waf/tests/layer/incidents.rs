//! What is told.

use std::task::{Context, Waker};

use fusebox_testkit::{MockBody, MockFrame};
use tower::{Layer, ServiceExt};

use crate::*;

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
