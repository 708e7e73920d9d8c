//! What rules leave alone.

use fusebox_core::Registration;
use fusebox_testkit::{MockBody, MockFrame};
use fusebox_waf::{Ruleset, RulesetBuilder, core, rule, tag};
use http::Request;

use crate::*;

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
