//! `@rbl` and `@geoLookup`: an error without a resolver, and what the caller says with one.

#![expect(
    clippy::unwrap_used,
    reason = "a test may say that this cannot fail: its panic is the report"
)]

use std::net::IpAddr;
use std::time::SystemTime;

use fusebox_seclang::{BlockLists, GeoDatabase, GeoField, Ruleset, RulesetBuilder, Transaction};

#[derive(Debug)]
struct Known;

impl BlockLists for Known {
    fn is_listed(&self, list: &str, subject: &str) -> bool {
        list == "bl.example.org" && ["192.0.2.7", "evil.example"].contains(&subject)
    }
}

impl GeoDatabase for Known {
    fn locate(&self, address: IpAddr, tell: &mut dyn FnMut(GeoField, &str)) -> bool {
        let country = match address.to_string().as_str() {
            "192.0.2.7" => "ZZ",
            "2001:db8::1" => "YY",
            _ => return false,
        };
        tell(GeoField::CountryCode, country);
        tell(GeoField::City, &format!("City of {country}"));
        true
    }
}

fn get(builder: RulesetBuilder, rules: &str, uri: &str) -> Transaction {
    let rules = builder
        .text("on", "SecRuleEngine On\n")
        .text("rules", rules)
        .build()
        .unwrap();
    let mut tx = rules.transaction(SystemTime::UNIX_EPOCH);
    tx.connection(
        "[::ffff:192.0.2.7]:1".parse().unwrap(),
        "192.0.2.1:80".parse().unwrap(),
    );
    tx.request_line(b"GET", uri.as_bytes(), b"HTTP/1.1");
    tx.end_request_headers();
    tx.end_request_body();
    tx.finish();
    tx
}

fn given() -> RulesetBuilder {
    Ruleset::builder().block_lists(Known).geo_database(Known)
}

fn messages(tx: &Transaction) -> Vec<String> {
    tx.matches()
        .map(|found| String::from_utf8_lossy(found.message()).into_owned())
        .collect()
}

#[test]
fn without_a_resolver_they_are_refused_with_the_reason_and_the_place() {
    for (rule, expected) in [
        (
            "SecRule REMOTE_ADDR \"@rbl bl.example.org\" \"id:1\"",
            "r:2: @rbl: nobody asks a name server in the middle of a request; give the builder BlockLists",
        ),
        (
            "SecRule REMOTE_ADDR \"@geoLookup\" \"id:1\"",
            "r:2: @geoLookup: there is no location database; give the builder a GeoDatabase",
        ),
        (
            "SecRule GEO:CITY \"@rx x\" \"id:1\"",
            "r:2: GEO: there is no location database; give the builder a GeoDatabase",
        ),
        (
            "SecAction \"id:1,msg:'%{GEO.CITY}'\"",
            "r:2: GEO: there is no location database; give the builder a GeoDatabase",
        ),
    ] {
        for plain in [false, true] {
            let builder = Ruleset::builder().text("r", &format!("\n{rule}"));
            let builder = if plain { builder.plain() } else { builder };
            assert_eq!(builder.build().unwrap_err().to_string(), expected);
        }
    }
    // One is not the other.
    let rule = "SecRule REMOTE_ADDR \"@rbl bl.example.org\" \"id:1\"";
    let builder = Ruleset::builder().geo_database(Known).text("r", rule);
    assert!(builder.build().is_err());
    assert!(
        given()
            .text("r", "SecRule ARGS \"@rbl\" \"id:1\"")
            .build()
            .is_err()
    );
}

#[test]
fn a_block_list_is_asked_for_addresses_and_names() {
    let rules = "SecRule REMOTE_ADDR|ARGS \"@rbl bl.example.org\" \"id:1,phase:2,pass,nolog,setvar:'tx.n=%{tx.n} %{MATCHED_VAR_NAME}'\"\n\
                 SecRule REMOTE_ADDR \"@rbl other.example.org\" \"id:2,phase:2,pass,msg:'other'\"\n\
                 SecAction \"id:3,phase:2,pass,msg:'%{tx.n}'\"";
    for builder in [given(), given().plain()] {
        let tx = get(
            builder,
            rules,
            "/?a=evil.example&b=good.example&c=::FFFF:c000:207&d=%ff",
        );
        assert_eq!(messages(&tx), [" REMOTE_ADDR ARGS:a ARGS:c"]);
    }
}

#[test]
fn a_lookup_fills_geo_for_the_rules_that_follow() {
    let rules = "SecRule REMOTE_ADDR \"@geoLookup\" \"id:1,phase:1,pass,msg:'%{GEO.COUNTRY_CODE} %{geo.city}%{geo.region}',chain\"\n\
                 SecRule &GEO \"@eq 2\"\n\
                 SecRule GEO:COUNTRY_CODE \"@rx ^ZZ$\" \"id:2,phase:1,pass,msg:'%{MATCHED_VAR_NAME}'\"\n\
                 SecRule ARGS:a \"@geoLookup\" \"id:3,phase:2,pass,msg:'%{GEO.COUNTRY_CODE}'\"\n\
                 SecRule GEO \"@rx Y\" \"id:4,phase:2,pass,msg:'%{MATCHED_VAR}'\"";
    for plain in [false, true] {
        let builder = if plain { given().plain() } else { given() };
        let tx = get(builder.clone(), rules, "/?a=2001:DB8::1");
        assert_eq!(
            messages(&tx),
            ["ZZ City of ZZ", "GEO:country_code", "YY", "City of YY"]
        );
        // What is unknown, or no address, empties it.
        let tx = get(builder, rules, "/?a=nowhere");
        assert_eq!(messages(&tx), ["ZZ City of ZZ", "GEO:country_code"]);
    }
}
