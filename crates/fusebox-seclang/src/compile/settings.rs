//! What the settings add up to.

use std::sync::Arc;

use super::regex::{self, Regex};
use crate::error::ErrorKind;
use crate::parse::{AuditMode, BodyLimitAction, EngineMode, Setting};

/// Settings for the whole engine; the defaults are those of `modsecurity.conf-recommended`, except that nothing is on that was
/// not asked for.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) engine: EngineMode,
    pub(crate) audit: AuditMode,
    pub(crate) audit_parts: String,
    /// `SecAuditLogRelevantStatus`
    pub(crate) relevant_status: Option<Arc<Regex>>,
    pub(crate) request_body: BodySettings,
    /// The limit without files, for what is held in memory as arguments.
    pub(crate) no_files_limit: usize,
    pub(crate) json_depth: usize,
    pub(crate) arguments: usize,
    pub(crate) separator: u8,
    pub(crate) response_body: BodySettings,
    pub(crate) response_types: Vec<String>,
    pub(crate) collection_timeout: u32,
    pub(crate) file_limit: usize,
    pub(crate) web_app: String,
    /// Directives that were read and change nothing here.
    pub(crate) without_effect: Vec<&'static str>,
}

/// How one body is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodySettings {
    pub(crate) access: bool,
    pub(crate) limit: usize,
    pub(crate) limit_action: BodyLimitAction,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            engine: EngineMode::Off,
            audit: AuditMode::Off,
            audit_parts: "ABIJDEFHZ".to_owned(),
            relevant_status: None,
            request_body: BodySettings {
                access: false,
                limit: 13_107_200,
                limit_action: BodyLimitAction::Reject,
            },
            no_files_limit: 131_072,
            json_depth: 512,
            // Not the thousand of the reference, with which a usual order of 100 KiB in JSON would be answered 400. CRS
            // has a limit of its own, 920380.
            arguments: crate::body::Limits::default().arguments,
            separator: b'&',
            response_body: BodySettings {
                access: false,
                limit: 524_288,
                limit_action: BodyLimitAction::ProcessPartial,
            },
            response_types: ["text/plain", "text/html", "text/xml"]
                .map(str::to_owned)
                .to_vec(),
            collection_timeout: 3_600,
            file_limit: 100,
            web_app: "default".to_owned(),
            without_effect: Vec::new(),
        }
    }
}

impl Settings {
    pub(super) fn apply(&mut self, setting: &Setting) -> Result<(), ErrorKind> {
        match setting {
            Setting::RuleEngine(mode) => self.engine = *mode,
            Setting::AuditEngine(mode) => self.audit = *mode,
            Setting::AuditLogParts(parts) => self.audit_parts.clone_from(parts),
            Setting::AuditLogRelevantStatus(pattern) => {
                self.relevant_status = Some(Arc::new(regex::compile(pattern, false)?));
            }
            Setting::RequestBodyAccess(on) => self.request_body.access = *on,
            Setting::RequestBodyLimit(limit) => self.request_body.limit = *limit,
            Setting::RequestBodyNoFilesLimit(limit) => self.no_files_limit = *limit,
            Setting::RequestBodyLimitAction(action) => self.request_body.limit_action = *action,
            Setting::RequestBodyJsonDepthLimit(depth) => self.json_depth = *depth,
            Setting::ArgumentsLimit(limit) => self.arguments = *limit,
            Setting::ArgumentSeparator(byte) => self.separator = *byte,
            Setting::ResponseBodyAccess(on) => self.response_body.access = *on,
            Setting::ResponseBodyLimit(limit) => self.response_body.limit = *limit,
            Setting::ResponseBodyLimitAction(action) => self.response_body.limit_action = *action,
            Setting::ResponseBodyMimeType(types) => {
                self.response_types.extend(types.iter().cloned());
            }
            Setting::ResponseBodyMimeTypesClear => self.response_types.clear(),
            Setting::CollectionTimeout(seconds) => self.collection_timeout = *seconds,
            Setting::UploadFileLimit(limit) => self.file_limit = *limit,
            Setting::WebAppId(name) => self.web_app.clone_from(name),
            Setting::WithoutEffect(name) => {
                if !self.without_effect.contains(name) {
                    self.without_effect.push(name);
                }
            }
        }
        Ok(())
    }
}
