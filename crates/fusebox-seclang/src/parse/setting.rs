//! Directives that set something for the whole engine.

use super::action::AuditMode;
use crate::error::ErrorKind;

/// What `SecRuleEngine` and `ctl:ruleEngine` say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EngineMode {
    On,
    DetectionOnly,
    Off,
}

impl EngineMode {
    pub(crate) fn parse(what: &str, value: &str) -> Result<Self, ErrorKind> {
        Ok(match value.to_ascii_lowercase().as_str() {
            "on" => Self::On,
            "off" => Self::Off,
            "detectiononly" => Self::DetectionOnly,
            _ => return Err(bad(what, value, "On, Off or DetectionOnly")),
        })
    }
}

/// What becomes of a body that is longer than its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyLimitAction {
    Reject,
    ProcessPartial,
}

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Setting {
    RuleEngine(EngineMode),
    AuditEngine(AuditMode),
    AuditLogParts(String),
    AuditLogRelevantStatus(String),
    RequestBodyAccess(bool),
    RequestBodyLimit(usize),
    RequestBodyNoFilesLimit(usize),
    RequestBodyLimitAction(BodyLimitAction),
    RequestBodyJsonDepthLimit(usize),
    ArgumentsLimit(usize),
    ArgumentSeparator(u8),
    ResponseBodyAccess(bool),
    ResponseBodyLimit(usize),
    ResponseBodyLimitAction(BodyLimitAction),
    ResponseBodyMimeType(Vec<String>),
    ResponseBodyMimeTypesClear,
    CollectionTimeout(u32),
    UploadFileLimit(usize),
    WebAppId(String),
    /// Has a meaning for a server, and none for an engine inside a service: named in the report, without effect.
    WithoutEffect(&'static str),
}

/// Directives that say where a server keeps its files, or tune what this engine does not have.
pub(super) const WITHOUT_EFFECT: &[&str] = &[
    "SecAuditLog",
    "SecAuditLog2",
    "SecAuditLogDirMode",
    "SecAuditLogFileMode",
    "SecAuditLogFormat",
    "SecAuditLogStorageDir",
    "SecAuditLogType",
    // Transformations are always cached.
    "SecCacheTransformations",
    "SecComponentSignature",
    "SecDataDir",
    "SecDebugLog",
    "SecDebugLogLevel",
    "SecGuardianLog",
    "SecPcreMatchLimit",
    "SecPcreMatchLimitRecursion",
    "SecRequestBodyInMemoryLimit",
    "SecRulePerfTime",
    "SecSensorId",
    "SecServerSignature",
    "SecStatusEngine",
    "SecTmpDir",
    "SecTmpSaveUploadedFiles",
    "SecUploadDir",
    "SecUploadFileMode",
    "SecUploadKeepFiles",
];

pub(super) const REFUSED: &[(&str, &str)] = &[
    ("SecChrootDir", "a service is not moved by its rules"),
    (
        "SecConnReadStateLimit",
        "connections are the server's; use the bulkhead and rate limit layers",
    ),
    (
        "SecConnWriteStateLimit",
        "connections are the server's; use the bulkhead and rate limit layers",
    ),
    ("SecContentInjection", "bodies are not rewritten"),
    (
        "SecDisableBackendCompression",
        "response bodies are looked at as they are",
    ),
    (
        "SecGeoLookupDb",
        "files of one vendor are not read; give the builder a GeoDatabase",
    ),
    ("SecGsbLookupDb", "the service behind it is closed"),
    (
        "SecCookieV0Separator",
        "cookies are parted by semicolons, as browsers send them",
    ),
    ("SecHashEngine", "hash injection is not built in"),
    ("SecHashKey", "hash injection is not built in"),
    ("SecHashMethodPm", "hash injection is not built in"),
    ("SecHashMethodRx", "hash injection is not built in"),
    ("SecHashParam", "hash injection is not built in"),
    (
        "SecInterceptOnError",
        "no rule fails while it runs: what is wrong with it is an error at load",
    ),
    ("SecPdfProtect", "bodies are not rewritten"),
    ("SecPdfProtectMethod", "bodies are not rewritten"),
    ("SecPdfProtectSecret", "bodies are not rewritten"),
    ("SecPdfProtectTimeout", "bodies are not rewritten"),
    ("SecPdfProtectTokenName", "bodies are not rewritten"),
    (
        "SecReadStateLimit",
        "connections are the server's; use the bulkhead and rate limit layers",
    ),
    (
        "SecHttpBlKey",
        "nobody asks a name server in the middle of a request; give the builder BlockLists and use @rbl",
    ),
    (
        "SecRemoteRules",
        "rules come from files, not from the network",
    ),
    (
        "SecRemoteRulesFailAction",
        "rules come from files, not from the network",
    ),
    (
        "SecRequestEncoding",
        "arguments are looked at as bytes, and XML says its encoding itself",
    ),
    (
        "SecRuleInheritance",
        "there is one configuration, not one per folder",
    ),
    (
        "SecRuleScript",
        "no program is run in the middle of a request",
    ),
    ("SecStreamInBodyInspection", "bodies are not rewritten"),
    ("SecStreamOutBodyInspection", "bodies are not rewritten"),
    (
        "SecWriteStateLimit",
        "connections are the server's; use the bulkhead and rate limit layers",
    ),
];

fn bad(what: &str, value: &str, expected: &'static str) -> ErrorKind {
    ErrorKind::Value {
        what: what.to_owned(),
        value: value.to_owned(),
        expected,
    }
}

/// Letters of the reference, in capitals.
pub(super) fn audit_parts(what: &str, parts: &str) -> Result<String, ErrorKind> {
    let upper = parts.to_ascii_uppercase();
    let known = |part: char| ('A'..='K').contains(&part) || part == 'Z';
    if !upper.is_empty() && upper.chars().all(known) {
        return Ok(upper);
    }
    Err(bad(what, parts, "letters A to K and Z"))
}

impl Setting {
    /// `None`: no setting has this name.
    pub(crate) fn parse(name: &str, arguments: &[String]) -> Result<Option<Self>, ErrorKind> {
        let lower = name.to_ascii_lowercase();
        if let Some((known, why)) = REFUSED
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(&lower))
        {
            return Err(ErrorKind::Refused {
                what: (*known).to_owned(),
                why,
            });
        }
        if let Some(known) = WITHOUT_EFFECT
            .iter()
            .find(|known| known.eq_ignore_ascii_case(&lower))
        {
            return Ok(Some(Self::WithoutEffect(known)));
        }
        let one = || match arguments {
            [one] => Ok(one.as_str()),
            _ => Err(ErrorKind::Arguments {
                directive: name.to_owned(),
                expected: "one argument",
                found: arguments.len(),
            }),
        };
        let size = || {
            let value = one()?;
            value
                .parse()
                .map_err(|_| bad(name, value, "a whole number"))
        };
        let switch = || {
            let value = one()?;
            match value.to_ascii_lowercase().as_str() {
                "on" => Ok(true),
                "off" => Ok(false),
                _ => Err(bad(name, value, "On or Off")),
            }
        };
        let limit_action = || {
            let value = one()?;
            match value.to_ascii_lowercase().as_str() {
                "reject" => Ok(BodyLimitAction::Reject),
                "processpartial" => Ok(BodyLimitAction::ProcessPartial),
                _ => Err(bad(name, value, "Reject or ProcessPartial")),
            }
        };
        Ok(Some(match lower.as_str() {
            "secruleengine" => Self::RuleEngine(EngineMode::parse(name, one()?)?),
            "secauditengine" => Self::AuditEngine(AuditMode::parse(name, one()?)?),
            "secauditlogparts" => Self::AuditLogParts(audit_parts(name, one()?)?),
            "secauditlogrelevantstatus" => Self::AuditLogRelevantStatus(one()?.to_owned()),
            "secrequestbodyaccess" => Self::RequestBodyAccess(switch()?),
            "secrequestbodylimit" => Self::RequestBodyLimit(size()?),
            "secrequestbodynofileslimit" => Self::RequestBodyNoFilesLimit(size()?),
            "secrequestbodylimitaction" => Self::RequestBodyLimitAction(limit_action()?),
            "secrequestbodyjsondepthlimit" => Self::RequestBodyJsonDepthLimit(size()?),
            "secargumentslimit" => Self::ArgumentsLimit(size()?),
            "secargumentseparator" => match one()?.as_bytes() {
                // These would part nothing that a client can send, or part names from values.
                [byte] if byte.is_ascii_graphic() && !matches!(byte, b'=' | b'%' | b'+') => {
                    Self::ArgumentSeparator(*byte)
                }
                _ => return Err(bad(name, one()?, "one visible character other than = % +")),
            },
            "secresponsebodyaccess" => Self::ResponseBodyAccess(switch()?),
            "secresponsebodylimit" => Self::ResponseBodyLimit(size()?),
            "secresponsebodylimitaction" => Self::ResponseBodyLimitAction(limit_action()?),
            "secresponsebodymimetype" => Self::ResponseBodyMimeType(
                arguments
                    .iter()
                    .map(|mime| mime.to_ascii_lowercase())
                    .collect(),
            ),
            "secresponsebodymimetypesclear" => Self::ResponseBodyMimeTypesClear,
            "seccollectiontimeout" => {
                let value = one()?;
                Self::CollectionTimeout(
                    value
                        .parse()
                        .map_err(|_| bad(name, value, "a number of seconds"))?,
                )
            }
            "secuploadfilelimit" => Self::UploadFileLimit(size()?),
            "secwebappid" => Self::WebAppId(one()?.to_owned()),
            "seccookieformat" => match one()? {
                "0" => Self::WithoutEffect("SecCookieFormat"),
                value => return Err(bad(name, value, "0, the format that browsers send")),
            },
            "secconnengine" => {
                if EngineMode::parse(name, one()?)? != EngineMode::Off {
                    return Err(ErrorKind::Refused {
                        what: "SecConnEngine".to_owned(),
                        why: "connections are the server's; use the bulkhead and rate limit layers",
                    });
                }
                Self::WithoutEffect("SecConnEngine")
            }
            // The one mapping that urlDecodeUni has built in is that of this code page.
            "secunicodemapfile" => match arguments {
                [_] => Self::WithoutEffect("SecUnicodeMapFile"),
                [_, page] if page == "20127" => Self::WithoutEffect("SecUnicodeMapFile"),
                _ => {
                    let page = arguments.get(1).map_or("", String::as_str);
                    return Err(bad(name, page, "a file and 20127, the code page built in"));
                }
            },
            "secunicodecodepage" => match one()? {
                "20127" => Self::WithoutEffect("SecUnicodeCodePage"),
                page => return Err(bad(name, page, "20127, the code page built in")),
            },
            "secxmlexternalentity" => {
                if switch()? {
                    return Err(ErrorKind::Refused {
                        what: "SecXmlExternalEntity On".to_owned(),
                        why: "external entities are never loaded",
                    });
                }
                Self::WithoutEffect("SecXmlExternalEntity")
            }
            "secparsexmlintoargs" => {
                if !arguments
                    .first()
                    .is_some_and(|value| value.eq_ignore_ascii_case("off"))
                {
                    return Err(ErrorKind::Refused {
                        what: "SecParseXmlIntoArgs".to_owned(),
                        why: "XML is looked at as XML:/* and XML://@*",
                    });
                }
                Self::WithoutEffect("SecParseXmlIntoArgs")
            }
            _ => return Ok(None),
        }))
    }
}
