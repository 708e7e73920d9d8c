//! What can be tested: an engine, and how it is loaded.

use anyhow::{Result, bail};

use crate::backend::Response;
use crate::request::Request;
use crate::seclang;
use crate::suite::Rules;

/// What an engine logged about one request and its response.
#[derive(Debug, Default)]
pub struct Run {
    /// The rules, in the order in which they were logged. A rule with `nolog` is not among them.
    pub ids: Vec<u32>,
    /// The lines, each with `[id "..."]` in it.
    pub log: Vec<String>,
}

/// A rule engine with its rules.
pub trait Engine {
    /// Takes one request and its response through all phases.
    ///
    /// # Errors
    /// What the engine itself cannot do; what a rule decides is no error.
    fn run(&mut self, request: &Request, response: &Response) -> Result<Run>;
}

/// Makes an engine of rules.
pub type Loader = fn(&Rules) -> Result<Box<dyn Engine>>;

pub(crate) fn load(name: &str, rules: &Rules, peers: &[(&str, Loader)]) -> Result<Box<dyn Engine>> {
    if name == seclang::NAME {
        return seclang::load(rules);
    }
    match peers.iter().find(|(peer, _load)| *peer == name) {
        Some((_peer, load)) => load(rules),
        None => bail!("--engine: there is no engine `{name}` in this build"),
    }
}

/// What the suite wants an engine to do: what ModSecurity's recommended configuration says about bodies, and no blocking.
pub const BEFORE_SETUP: &str = r#"
SecRuleEngine DetectionOnly
SecRequestBodyAccess On
SecResponseBodyAccess On
SecResponseBodyMimeType text/plain text/html text/xml application/json
SecRequestBodyLimit 13107200
SecRequestBodyNoFilesLimit 131072
SecRequestBodyJsonDepthLimit 512
SecRequestBodyLimitAction Reject
SecResponseBodyLimit 524288
SecResponseBodyLimitAction ProcessPartial
SecArgumentSeparator &
SecRule REQUEST_HEADERS:Content-Type "^(?:application(?:/soap\+|/)|text/)xml" \
    "id:200000,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=XML"
SecRule REQUEST_HEADERS:Content-Type "^application/json" \
    "id:200001,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=JSON"
SecRule REQUEST_HEADERS:Content-Type "^application/[a-z0-9.-]+[+]json" \
    "id:200006,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=JSON"
SecRule REQBODY_ERROR "!@eq 0" \
    "id:200002,phase:2,t:none,log,deny,status:400,msg:'Failed to parse request body.',logdata:'%{reqbody_error_msg}',severity:2"
SecRule MULTIPART_STRICT_ERROR "!@eq 0" \
    "id:200003,phase:2,t:none,log,deny,status:400,msg:'Multipart request body failed strict validation.'"
"#;

/// The settings under which the tests are written: every level, and limits that a test can reach.
pub const AFTER_SETUP: &str = r#"
SecAction "id:900005,phase:1,nolog,pass,t:none,\
    setvar:tx.blocking_paranoia_level=4,\
    setvar:tx.crs_validate_utf8_encoding=1,\
    setvar:tx.arg_name_length=100,\
    setvar:tx.arg_length=400,\
    setvar:tx.total_arg_length=64000,\
    setvar:tx.max_num_args=255,\
    setvar:tx.max_file_size=64100,\
    setvar:tx.combined_file_sizes=65535"
"#;
