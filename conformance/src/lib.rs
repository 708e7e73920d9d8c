//! Runs the regression tests of the OWASP Core Rule Set (go-ftw YAML) against a rule engine: in process, and over loopback.
//!
//! In process there is no server and no socket: the request that go-ftw would send is built in its order, parsed once, and given
//! to the engine, and the test back end (albedo) is a function. What only a server could decide is counted apart and
//! not judged.
//!
//! A library as well as a program, so that `peers/`, which is not part of the workspace, can run the same tests against
//! other engines: one of them needs a C library of the machine, and the workspace must build without.

mod backend;
mod benign;
mod engine;
mod format;
mod judge;
mod loopback;
mod own;
mod request;
mod seclang;
mod suite;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use lexopt::{Arg, Parser, ValueExt};

use crate::judge::Verdict;
use crate::suite::{Suite, Where};

pub use crate::backend::Response;
pub use crate::engine::{AFTER_SETUP, BEFORE_SETUP, Engine, Loader, Run};
pub use crate::request::Request;
pub use crate::suite::Rules;

const HELP: &str = "\
fusebox-conformance [--rules DIR] [--tests DIR] [--fails] [--only ID] [--engine NAME]
fusebox-conformance --core [--rules DIR] [--tests DIR] [--fails] [--only ID] [--strict] [--from DIR]
fusebox-conformance --loopback [--rules DIR] [--tests DIR] [--fails] [--only ID]

  --rules DIR     the Core Rule Set: its folder, or the folder of its *.conf
  --tests DIR     the tests: the folder of the rule set, or any folder with go-ftw YAML below it
  --fails         prints every stage that failed, and why
  --only ID       runs the tests whose id begins so: 942100, 942100-3
  --engine NAME   seclang (the default), libmodsecurity, zentinel
  --core          fusebox's own rules instead: how many of the attacks they block, and how much that is none; the levels of the
                  attacks are read from the Core Rule Set
  --strict        its level two
  --loopback      over sockets of this machine, through hyper and axum, with the firewall as a layer
  --from DIR      its rules from files instead of those that are built in

Without DIR: the folder that FUSEBOX_CRS names, or ../shared/crs.
Exit code: 0 when every stage passed, 1 when one failed, 2 when there was nothing to check.
";

/// Kept apart from failure: nothing was found wrong, because nothing was looked at.
const UNCHECKED: u8 = 2;

/// The whole program, with these engines beside our own, by name.
#[must_use]
pub fn command(peers: &[(&str, Loader)]) -> ExitCode {
    let result = Options::parse(Parser::from_env()).and_then(|options| match options {
        None => {
            print!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        Some(options) => run(&options, peers),
    });
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

#[derive(Debug, Default)]
struct Options {
    place: Where,
    fails: bool,
    only: Option<String>,
    engine: Option<String>,
    core: bool,
    loopback: bool,
    strict: bool,
    from: Option<PathBuf>,
}

impl Options {
    /// `None`: the help was asked for.
    fn parse(mut parser: Parser) -> Result<Option<Self>> {
        let mut options = Self::default();
        while let Some(arg) = parser.next()? {
            match arg {
                Arg::Long("rules") => options.place.rules = Some(PathBuf::from(parser.value()?)),
                Arg::Long("tests") => options.place.tests = Some(PathBuf::from(parser.value()?)),
                Arg::Long("fails") => options.fails = true,
                Arg::Long("only") => options.only = Some(parser.value()?.string()?),
                Arg::Long("engine") => options.engine = Some(parser.value()?.string()?),
                Arg::Long("core") => options.core = true,
                Arg::Long("loopback") => options.loopback = true,
                Arg::Long("strict") => options.strict = true,
                Arg::Long("from") => options.from = Some(PathBuf::from(parser.value()?)),
                Arg::Short('h') | Arg::Long("help") => return Ok(None),
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(Some(options))
    }
}

fn run(options: &Options, peers: &[(&str, Loader)]) -> Result<ExitCode> {
    let Some(suite) = Suite::find(&options.place)? else {
        println!(
            "no Core Rule Set found: nothing was checked\n\
             get one: git clone https://github.com/coreruleset/coreruleset, then\n\
             cargo xtask crs --rules coreruleset --tests coreruleset/tests/regression/tests"
        );
        return Ok(ExitCode::from(UNCHECKED));
    };
    if options.core {
        let is_met = own::run(
            &suite,
            &own::Options {
                fails: options.fails,
                only: options.only.as_deref(),
                from: options.from.clone(),
                strict: options.strict,
                without_harmless: false,
            },
        )?;
        return Ok(if is_met {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        });
    }
    if options.loopback {
        let is_met = loopback::run(&suite, options.fails, options.only.as_deref())?;
        return Ok(if is_met {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        });
    }
    let name = options.engine.as_deref().unwrap_or(seclang::NAME);
    let mut engine = engine::load(name, &suite.rules, peers)?;
    let count = check(&suite, engine.as_mut(), options)?;
    if count.judged == 0 {
        bail!("no stage to judge in {}", suite.tests.display());
    }
    println!(
        "crs passed {} of {}, {} server-only",
        count.passed, count.judged, count.server_only
    );
    Ok(if count.passed == count.judged {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

#[derive(Debug, Default)]
struct Count {
    passed: usize,
    judged: usize,
    server_only: usize,
}

fn check(suite: &Suite, engine: &mut dyn Engine, options: &Options) -> Result<Count> {
    let mut count = Count::default();
    for stage in suite.stages()? {
        if let Some(only) = &options.only
            && !stage.name.starts_with(only.as_str())
        {
            continue;
        }
        match judge::judge(&stage, engine)? {
            Verdict::Passed => count.passed += 1,
            Verdict::ServerOnly => {
                count.server_only += 1;
                continue;
            }
            Verdict::Failed(why) => {
                if options.fails {
                    println!("FAILED {}: {why}", stage.name);
                }
            }
        }
        count.judged += 1;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Full;
    use tower::{Layer as _, ServiceExt as _, service_fn};

    use super::*;

    /// The whole suite, where there is a copy of it; `cargo xtask crs` does the same, faster.
    #[test]
    fn the_core_rule_set_passes_its_own_tests() {
        let Some(suite) = Suite::find(&Where::default()).unwrap() else {
            eprintln!("no Core Rule Set: nothing was checked");
            return;
        };
        let mut engine = engine::load(seclang::NAME, &suite.rules, &[]).unwrap();
        let mut judged = 0;
        let mut failed = Vec::new();
        for stage in suite.stages().unwrap() {
            judged += 1;
            if let Verdict::Failed(why) = judge::judge(&stage, engine.as_mut()).unwrap() {
                failed.push(format!("{}: {why}", stage.name));
            }
        }
        assert!(judged > 0, "no stage in {}", suite.tests.display());
        assert!(failed.is_empty(), "{}", failed.join("\n"));
    }

    /// End to end; `cargo xtask crs --loopback` does the same, faster.
    #[test]
    fn the_core_rule_set_passes_its_own_tests_behind_hyper_and_axum() {
        let Some(suite) = Suite::find(&Where::default()).unwrap() else {
            eprintln!("no Core Rule Set: nothing was checked");
            return;
        };
        assert!(loopback::run(&suite, true, None).unwrap());
    }

    /// With the settings of the layer, not with those of the tests.
    #[tokio::test]
    async fn the_core_rule_set_as_a_layer_refuses_an_attack_and_passes_what_is_none() {
        let suite = Suite::find(&Where::default()).unwrap();
        let Some(setup) = suite.and_then(|suite| suite.rules.setup) else {
            eprintln!("no Core Rule Set: nothing was checked");
            return;
        };
        let layer = fusebox_waf::WafLayer::crs(setup.parent().unwrap()).unwrap();
        let service = layer.layer(service_fn(async |_: http::Request<_>| {
            Ok::<_, std::convert::Infallible>(http::Response::new(Full::<Bytes>::default()))
        }));
        for (kind, body, status) in [
            ("application/x-www-form-urlencoded", "q=red+shoes", 200),
            (
                "application/json",
                r#"{"q": "red shoes", "size": [42, 43]}"#,
                200,
            ),
            (
                "application/x-www-form-urlencoded",
                "q=1'+union+select+password+from+users--",
                403,
            ),
            (
                "application/json",
                r#"{"q": "1' union select password from users--"}"#,
                403,
            ),
            ("application/json", r#"{"q": "#, 400),
        ] {
            let request = http::Request::post("/search")
                .header("host", "shop.example")
                .header("user-agent", "Mozilla/5.0")
                .header("accept", "*/*")
                .header("content-type", kind)
                .header("content-length", body.len())
                .body(Full::<Bytes>::from(body))
                .unwrap();
            let answer = service.clone().oneshot(request).await.unwrap();
            assert_eq!(answer.status(), status, "{body}");
        }
    }

    #[test]
    fn an_engine_that_is_not_built_in_is_said_so() {
        let rules = Rules::default();
        let error = engine::load("apache", &rules, &[]).err().unwrap();
        assert!(error.to_string().contains("apache"), "{error}");
    }
}
