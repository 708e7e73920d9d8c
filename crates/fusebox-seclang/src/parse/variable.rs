//! Variables and the targets of a rule: `ARGS|!ARGS:x|&TX:/^a/`.

use crate::error::ErrorKind;
use crate::resolver::GeoField;

/// Declares [`Variable`] and its names in one table: `Single` has one value, `Parts` is a collection.
macro_rules! variables {
    ($($shape:ident { $($variant:ident = $name:literal,)* })*) => {
        /// What a rule can look at.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub(crate) enum Variable { $($($variant,)*)* }

        impl Variable {
            pub(super) const ALL: &[(&str, Self)] = &[$($(($name, Self::$variant),)*)*];

            /// How many there are; the number of each is below it.
            pub(crate) const COUNT: usize = Self::ALL.len();

            /// The name in rules and in logs.
            pub(crate) const fn name(self) -> &'static str {
                match self { $($(Self::$variant => $name,)*)* }
            }

            /// Whether it is a collection.
            pub(crate) const fn has_parts(self) -> bool {
                match self { $($(Self::$variant => variables!(@$shape),)*)* }
            }
        }
    };
    (@Single) => { false };
    (@Parts) => { true };
}

variables! {
    Single {
        ArgsCombinedSize = "ARGS_COMBINED_SIZE",
        FilesCombinedSize = "FILES_COMBINED_SIZE",
        HighestSeverity = "HIGHEST_SEVERITY",
        InboundDataError = "INBOUND_DATA_ERROR",
        MatchedVar = "MATCHED_VAR",
        MatchedVarName = "MATCHED_VAR_NAME",
        MultipartBoundaryQuoted = "MULTIPART_BOUNDARY_QUOTED",
        MultipartBoundaryWhitespace = "MULTIPART_BOUNDARY_WHITESPACE",
        MultipartCrlfLfLines = "MULTIPART_CRLF_LF_LINES",
        MultipartDataAfter = "MULTIPART_DATA_AFTER",
        MultipartDataBefore = "MULTIPART_DATA_BEFORE",
        MultipartFileLimitExceeded = "MULTIPART_FILE_LIMIT_EXCEEDED",
        MultipartHeaderFolding = "MULTIPART_HEADER_FOLDING",
        MultipartInvalidHeaderFolding = "MULTIPART_INVALID_HEADER_FOLDING",
        MultipartInvalidPart = "MULTIPART_INVALID_PART",
        MultipartInvalidQuoting = "MULTIPART_INVALID_QUOTING",
        MultipartLfLine = "MULTIPART_LF_LINE",
        MultipartMissingSemicolon = "MULTIPART_MISSING_SEMICOLON",
        MultipartStrictError = "MULTIPART_STRICT_ERROR",
        MultipartUnmatchedBoundary = "MULTIPART_UNMATCHED_BOUNDARY",
        OutboundDataError = "OUTBOUND_DATA_ERROR",
        QueryString = "QUERY_STRING",
        RemoteAddr = "REMOTE_ADDR",
        RemotePort = "REMOTE_PORT",
        ReqbodyError = "REQBODY_ERROR",
        ReqbodyErrorMsg = "REQBODY_ERROR_MSG",
        ReqbodyProcessor = "REQBODY_PROCESSOR",
        ReqbodyProcessorError = "REQBODY_PROCESSOR_ERROR",
        ReqbodyProcessorErrorMsg = "REQBODY_PROCESSOR_ERROR_MSG",
        RequestBasename = "REQUEST_BASENAME",
        RequestBody = "REQUEST_BODY",
        RequestBodyLength = "REQUEST_BODY_LENGTH",
        RequestFilename = "REQUEST_FILENAME",
        RequestLine = "REQUEST_LINE",
        RequestMethod = "REQUEST_METHOD",
        RequestProtocol = "REQUEST_PROTOCOL",
        RequestUri = "REQUEST_URI",
        RequestUriRaw = "REQUEST_URI_RAW",
        ResponseBody = "RESPONSE_BODY",
        ResponseContentLength = "RESPONSE_CONTENT_LENGTH",
        ResponseContentType = "RESPONSE_CONTENT_TYPE",
        ResponseProtocol = "RESPONSE_PROTOCOL",
        ResponseStatus = "RESPONSE_STATUS",
        ServerAddr = "SERVER_ADDR",
        ServerName = "SERVER_NAME",
        ServerPort = "SERVER_PORT",
        Time = "TIME",
        TimeDay = "TIME_DAY",
        TimeEpoch = "TIME_EPOCH",
        TimeHour = "TIME_HOUR",
        TimeMin = "TIME_MIN",
        TimeMon = "TIME_MON",
        TimeSec = "TIME_SEC",
        TimeWday = "TIME_WDAY",
        TimeYear = "TIME_YEAR",
        UniqueId = "UNIQUE_ID",
        UrlencodedError = "URLENCODED_ERROR",
        WebAppId = "WEBAPPID",
    }
    Parts {
        Args = "ARGS",
        ArgsGet = "ARGS_GET",
        ArgsGetNames = "ARGS_GET_NAMES",
        ArgsNames = "ARGS_NAMES",
        ArgsPost = "ARGS_POST",
        ArgsPostNames = "ARGS_POST_NAMES",
        Files = "FILES",
        FilesNames = "FILES_NAMES",
        FilesSizes = "FILES_SIZES",
        Geo = "GEO",
        Global = "GLOBAL",
        Ip = "IP",
        MatchedVars = "MATCHED_VARS",
        MatchedVarsNames = "MATCHED_VARS_NAMES",
        MultipartPartHeaders = "MULTIPART_PART_HEADERS",
        RequestCookies = "REQUEST_COOKIES",
        RequestCookiesNames = "REQUEST_COOKIES_NAMES",
        RequestHeaders = "REQUEST_HEADERS",
        RequestHeadersNames = "REQUEST_HEADERS_NAMES",
        Resource = "RESOURCE",
        ResponseHeaders = "RESPONSE_HEADERS",
        ResponseHeadersNames = "RESPONSE_HEADERS_NAMES",
        Rule = "RULE",
        Session = "SESSION",
        Tx = "TX",
        User = "USER",
        Xml = "XML",
    }
}

/// Variables of the reference that need what an engine in a Rust service does not have.
pub(super) const REFUSED: &[(&str, &str)] = &[
    ("FILES_TMPNAMES", "uploads are not written to disk"),
    ("FILES_TMP_CONTENT", "uploads are not kept"),
    ("FULL_REQUEST", "the request is not kept a second time"),
    (
        "FULL_REQUEST_LENGTH",
        "the request is not kept a second time",
    ),
    (
        "AUTH_TYPE",
        "authentication is the service's own, look at REQUEST_HEADERS:Authorization",
    ),
    ("DURATION", "the engine reads no clock between phases"),
    ("ENV", "the process environment is not read by a request"),
    (
        "INBOUND_ERROR_DATA",
        "is an old name, use INBOUND_DATA_ERROR",
    ),
    (
        "OUTBOUND_ERROR_DATA",
        "is an old name, use OUTBOUND_DATA_ERROR",
    ),
    ("MODSEC_BUILD", "this is not ModSecurity"),
    (
        "MSC_PCRE_ERROR",
        "expressions run in linear time and cannot fail",
    ),
    (
        "MSC_PCRE_LIMITS_EXCEEDED",
        "expressions run in linear time and have no limits to exceed",
    ),
    ("MULTIPART_FILENAME", "use FILES"),
    ("MULTIPART_NAME", "use FILES_NAMES"),
    (
        "MULTIPART_SEMICOLON_MISSING",
        "is an old name, use MULTIPART_MISSING_SEMICOLON",
    ),
    ("PATH_INFO", "there is no script on disk behind a request"),
    ("PERF_ALL", "is a timer of ModSecurity 2's own phases"),
    ("PERF_COMBINED", "is a timer of ModSecurity 2's own phases"),
    ("PERF_GC", "is a timer of ModSecurity 2's own phases"),
    ("PERF_LOGGING", "is a timer of ModSecurity 2's own phases"),
    ("PERF_PHASE1", "is a timer of ModSecurity 2's own phases"),
    ("PERF_PHASE2", "is a timer of ModSecurity 2's own phases"),
    ("PERF_PHASE3", "is a timer of ModSecurity 2's own phases"),
    ("PERF_PHASE4", "is a timer of ModSecurity 2's own phases"),
    ("PERF_PHASE5", "is a timer of ModSecurity 2's own phases"),
    ("PERF_RULES", "is a timer of ModSecurity 2's own phases"),
    ("PERF_SREAD", "is a timer of ModSecurity 2's own phases"),
    ("PERF_SWRITE", "is a timer of ModSecurity 2's own phases"),
    ("REMOTE_HOST", "needs a name server, use REMOTE_ADDR"),
    (
        "REMOTE_USER",
        "authentication is the service's own, look at REQUEST_HEADERS:Authorization",
    ),
    (
        "SCRIPT_BASENAME",
        "there is no script on disk behind a request",
    ),
    (
        "SCRIPT_FILENAME",
        "there is no script on disk behind a request",
    ),
    ("SCRIPT_GID", "there is no script on disk behind a request"),
    (
        "SCRIPT_GROUPNAME",
        "there is no script on disk behind a request",
    ),
    ("SCRIPT_MODE", "there is no script on disk behind a request"),
    ("SCRIPT_UID", "there is no script on disk behind a request"),
    (
        "SCRIPT_USERNAME",
        "there is no script on disk behind a request",
    ),
    (
        "SDBM_DELETE_ERROR",
        "collections are in memory, not in SDBM files",
    ),
    (
        "SESSIONID",
        "use initcol:session=.. with the header or cookie that names the session",
    ),
    ("STATUS_LINE", "use RESPONSE_STATUS and RESPONSE_PROTOCOL"),
    ("STREAM_INPUT_BODY", "bodies are not rewritten"),
    ("STREAM_OUTPUT_BODY", "bodies are not rewritten"),
    (
        "USERID",
        "use initcol:user=.. with the header that names the user",
    ),
    (
        "USERAGENT_IP",
        "use REMOTE_ADDR, which the caller has already resolved",
    ),
    (
        "WEBSERVER_ERROR_LOG",
        "the server's log is not read by a request",
    ),
];

impl Variable {
    pub(crate) fn from_name(name: &str) -> Result<Self, ErrorKind> {
        if let Some((_, why)) = REFUSED
            .iter()
            .find(|(refused, _)| refused.eq_ignore_ascii_case(name))
        {
            return Err(ErrorKind::Refused {
                what: name.to_owned(),
                why,
            });
        }
        Self::ALL
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, variable)| *variable)
            .ok_or_else(|| ErrorKind::UnknownVariable {
                name: name.to_owned(),
            })
    }
}

/// Which parts of a collection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Selector {
    /// Every one; also what a variable without parts has.
    All,
    /// Those with this name, in lower case: names are compared without case.
    Name(Box<str>),
    /// Those whose name matches, without case.
    Regex(Box<str>),
}

/// What to do with what a target selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TargetMode {
    /// Look at each value.
    Value,
    /// `&`: look at how many there are.
    Count,
    /// `!`: leave them out.
    Exclude,
}

/// One target of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    pub(crate) mode: TargetMode,
    pub(crate) variable: Variable,
    pub(crate) selector: Selector,
}

/// What ModSecurity 2 adds to each persistent collection by itself, and libmodsecurity does not: nothing would ever be in it.
const BUILT_IN: &[&str] = &[
    "create_time",
    "is_new",
    "key",
    "last_update_time",
    "timeout",
    "update_counter",
    "update_rate",
];

/// What `RULE` tells of the rule that is being looked at.
const RULE_FIELDS: &[&str] = &["id", "logdata", "msg", "rev", "severity", "ver"];

/// Refuses a part that never has a value, whether a rule looks at it or a macro names it.
pub(super) fn known_part(variable: Variable, part: Option<&str>) -> Result<(), ErrorKind> {
    let refused = |why| {
        Err(ErrorKind::Selector {
            variable: match part {
                Some(part) => format!("{}:{part}", variable.name()),
                None => variable.name().to_owned(),
            },
            why,
        })
    };
    match (variable, part) {
        (Variable::Rule, Some(part)) if RULE_FIELDS.contains(&part) => Ok(()),
        (Variable::Rule, _) => refused("needs one of id, rev, ver, severity, msg and logdata"),
        (Variable::Geo, Some(part)) if !GeoField::is_one(part) => {
            refused("is no part of GEO, see GeoField")
        }
        (
            Variable::Global
            | Variable::Ip
            | Variable::Resource
            | Variable::Session
            | Variable::User,
            Some(part),
        ) if BUILT_IN.contains(&part) => {
            refused("collections have no built-in variables; set one of another name")
        }
        _ => Ok(()),
    }
}

impl Target {
    /// `A|!B:c|&D:/e/`, or with commas, as Apache's directives take it.
    pub(crate) fn parse_list(text: &str) -> Result<Vec<Self>, ErrorKind> {
        split_targets(text)
            .into_iter()
            .map(str::trim)
            .filter(|target| !target.is_empty())
            .map(Self::parse)
            .collect()
    }

    pub(crate) fn parse(text: &str) -> Result<Self, ErrorKind> {
        let (mode, text) = match text.split_at_checked(1) {
            Some(("!", rest)) => (TargetMode::Exclude, rest),
            Some(("&", rest)) => (TargetMode::Count, rest),
            _ => (TargetMode::Value, text),
        };
        let (name, selector) = match text.split_once([':', '.']) {
            Some((name, selector)) => (name, Some(selector)),
            None => (text, None),
        };
        let variable = Variable::from_name(name)?;
        let selector = match selector {
            None => Selector::All,
            Some(_) if !variable.has_parts() => {
                return Err(ErrorKind::Selector {
                    variable: text.to_owned(),
                    why: "the variable has no parts to choose from",
                });
            }
            Some(selector) => parse_selector(variable, selector)?,
        };
        match &selector {
            Selector::All => known_part(variable, None)?,
            Selector::Name(name) => known_part(variable, Some(name))?,
            Selector::Regex(_) if variable == Variable::Rule => known_part(variable, None)?,
            Selector::Regex(_) => {}
        }
        if variable == Variable::Xml && selector == Selector::All && mode == TargetMode::Value {
            return Err(ErrorKind::Selector {
                variable: text.to_owned(),
                why: "needs an expression, XML:/* for the text or XML://@* for the attributes",
            });
        }
        Ok(Self {
            mode,
            variable,
            selector,
        })
    }
}

fn parse_selector(variable: Variable, selector: &str) -> Result<Selector, ErrorKind> {
    let unquoted = selector
        .strip_prefix('\'')
        .and_then(|rest| rest.strip_suffix('\''))
        .unwrap_or(selector);
    if variable == Variable::Xml {
        // No XPath engine: these two are what CRS uses, and what libmodsecurity's own tests cover.
        return match unquoted {
            "/*" | "//@*" => Ok(Selector::Name(unquoted.into())),
            _ => Err(ErrorKind::Selector {
                variable: format!("XML:{unquoted}"),
                why: "only the expressions /* (all text) and //@* (all attributes) are supported",
            }),
        };
    }
    let regex = unquoted
        .strip_prefix('/')
        .and_then(|rest| rest.strip_suffix('/'));
    Ok(match regex {
        Some(regex) => Selector::Regex(regex.into()),
        None => Selector::Name(unquoted.to_ascii_lowercase().into()),
    })
}

/// Splits at `|` and `,` outside of `/../` and `'..'`.
fn split_targets(text: &str) -> Vec<&str> {
    let mut targets = Vec::new();
    let mut start = 0;
    let mut closes: Option<char> = None;
    let mut escaped = false;
    let mut previous = None;
    let xml = |start: usize| {
        text.get(start..)
            .and_then(|rest| rest.trim_start_matches(['!', '&', ' ']).get(..4))
            .is_some_and(|name| name.eq_ignore_ascii_case("XML:"))
    };
    for (at, c) in text.char_indices() {
        match closes {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(end) if c == end => closes = None,
            Some(_) => {}
            None => match c {
                '/' | '\'' if previous == Some(':') && !xml(start) => closes = Some(c),
                '|' | ',' => {
                    targets.extend(text.get(start..at));
                    start = at + 1;
                }
                _ => {}
            },
        }
        previous = Some(c);
    }
    targets.extend(text.get(start..));
    targets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(variable: Variable, selector: Selector) -> Target {
        Target {
            mode: TargetMode::Value,
            variable,
            selector,
        }
    }

    #[test]
    fn reads_a_list_of_targets() {
        let targets =
            Target::parse_list("REQUEST_COOKIES|!REQUEST_COOKIES:/a|b/|&tx:Score|XML:/*|XML://@*")
                .unwrap();
        assert_eq!(
            targets,
            [
                value(Variable::RequestCookies, Selector::All),
                Target {
                    mode: TargetMode::Exclude,
                    variable: Variable::RequestCookies,
                    selector: Selector::Regex("a|b".into())
                },
                Target {
                    mode: TargetMode::Count,
                    variable: Variable::Tx,
                    selector: Selector::Name("score".into())
                },
                value(Variable::Xml, Selector::Name("/*".into())),
                value(Variable::Xml, Selector::Name("//@*".into())),
            ]
        );
    }

    #[test]
    fn a_regex_may_hold_what_separates_targets() {
        let targets =
            Target::parse_list(r"ARGS_NAMES|!ARGS_NAMES:/^[\w]+\[(a|b),\/c\]$/|ARGS").unwrap();
        assert_eq!(targets.len(), 3);
        assert_eq!(
            targets[1].selector,
            Selector::Regex(r"^[\w]+\[(a|b),\/c\]$".into())
        );
        assert_eq!(
            Target::parse(r"REQUEST_COOKIES:/\x22?\x24Version/").unwrap(),
            value(
                Variable::RequestCookies,
                Selector::Regex(r"\x22?\x24Version".into())
            )
        );
    }

    #[test]
    fn names_what_it_does_not_know_and_what_it_refuses() {
        for (text, expected) in [
            ("ARGZ", "ARGZ: no such variable"),
            (
                "REQUEST_URI:x",
                "REQUEST_URI:x: the variable has no parts to choose from",
            ),
            (
                "GEO:COUNTRY",
                "GEO:country: is no part of GEO, see GeoField",
            ),
            (
                "RULE:file",
                "RULE:file: needs one of id, rev, ver, severity, msg and logdata",
            ),
            (
                "IP:IS_NEW",
                "IP:is_new: collections have no built-in variables; set one of another name",
            ),
            (
                "XML:/a/b",
                "XML:/a/b: only the expressions /* (all text) and //@* (all attributes) are supported",
            ),
        ] {
            assert_eq!(Target::parse(text).unwrap_err().to_string(), expected);
        }
    }
}
