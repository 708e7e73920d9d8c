//! The engines that can be tested.

mod seclang;

use anyhow::{Result, bail};

use crate::backend::Response;
use crate::request::Request;
use crate::suite::Rules;

/// What an engine logged about one request and its response.
#[derive(Debug, Default)]
pub(crate) struct Run {
    /// The rules, in the order in which they were logged. A rule with `nolog` is not among them.
    pub(crate) ids: Vec<u32>,
    /// The lines, each with `[id "..."]` in it.
    pub(crate) log: Vec<String>,
}

pub(crate) trait Engine {
    /// Takes one request and its response through all phases.
    fn run(&mut self, request: &Request, response: &Response) -> Result<Run>;
}

pub(crate) fn load(name: &str, rules: &Rules) -> Result<Box<dyn Engine>> {
    match name {
        "seclang" => Ok(Box::new(seclang::Seclang::load(rules)?)),
        "libmodsecurity" | "zentinel" => {
            bail!("--engine {name}: this build is without the feature `{name}`")
        }
        other => bail!("--engine: there is no engine `{other}`"),
    }
}

/// What the suite wants an engine to do: what ModSecurity's recommended configuration says about bodies, and no blocking.
const BEFORE_SETUP: &str = r#"
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
const AFTER_SETUP: &str = r#"
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
