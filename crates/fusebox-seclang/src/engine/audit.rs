//! What an audit log is told of a transaction, part by part.

use super::found::Match;
use super::lists::List;
use super::state::{Found, State};
use super::transaction::Interruption;
use crate::compile::Program;
use crate::parse::Variable;

/// A transaction as an audit log records it: the parts that `SecAuditLogParts` and `ctl:auditLogParts` ask for, and nothing else.
///
/// | part | holds |
/// | --- | --- |
/// | A | who, when, the `UNIQUE_ID`; always there |
/// | B | the request line and the headers of the request |
/// | C | the body of the request, as far as its limit and `SecRequestBodyAccess` let it be looked at |
/// | E | the body of the response, where its type is one that is looked at |
/// | F | the status and the headers of the response |
/// | H | the rules that matched and are to be audited, and what was decided |
/// | I | the arguments in the body instead of the body, without files |
/// | J | the files that were uploaded: names and sizes |
/// | K | the ids of all rules that matched, also those that say `nolog`; those decided at load are not among them |
///
/// D and G are reserved in the reference and hold nothing; Z ends a record in a file and has no meaning here. What a part holds
/// that was not asked for is `None` or empty.
///
/// Parts B, C, E, I and J are bytes of clients: passwords, cookies, personal data. Who may see them is for those to decide who
/// choose the parts and where records are written; the engine writes none anywhere.
///
/// ```
/// use std::time::SystemTime;
/// use fusebox_seclang::Ruleset;
///
/// let rules = Ruleset::builder()
///     .text("rules.conf", r#"
///         SecRuleEngine On
///         SecAuditEngine RelevantOnly
///         SecAuditLogParts AHZ
///         SecRule ARGS "@contains attack" "id:1,phase:1,deny,status:403,msg:'An attack'"
///     "#)
///     .build()?;
/// let mut tx = rules.transaction(SystemTime::UNIX_EPOCH);
/// tx.request_line(b"GET", b"/?password=attack", b"HTTP/1.1");
/// tx.end_request_headers();
/// tx.finish();
/// let record = tx.audit_record().expect("a rule matched");
/// assert_eq!(record.request_line(), None, "part B was not asked for");
/// let mut json = String::new();
/// record.write_json(&mut json);
/// assert!(json.contains(r#""msg":"An attack""#) && !json.contains("password=attack"));
/// # Ok::<(), fusebox_seclang::RulesetError>(())
/// ```
#[derive(Clone, Debug)]
pub struct AuditRecord<'a> {
    pub(super) program: &'a Program,
    pub(super) state: &'a State,
    pub(super) parts: &'a str,
    pub(super) interruption: Option<Interruption>,
    pub(super) unique_id: Vec<u8>,
}

impl<'a> AuditRecord<'a> {
    /// Whether the part was asked for. A always is.
    #[must_use]
    pub fn has(&self, part: char) -> bool {
        part == 'A' || self.parts.contains(part)
    }

    fn text(&self, variable: Variable) -> &'a [u8] {
        self.state.texts.get(self.state.single(variable))
    }

    fn part(&self, part: char, variable: Variable) -> Option<&'a [u8]> {
        self.has(part).then(|| self.text(variable))
    }

    fn list(&self, part: char, list: List) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let texts = &self.state.texts;
        let entries = if self.has(part) {
            self.state.lists.get(list)
        } else {
            &[]
        };
        entries
            .iter()
            .map(|entry| (texts.get(entry.name), texts.get(entry.value)))
    }

    /// A: when the transaction began, in seconds since 1970.
    #[must_use]
    pub const fn unix_time(&self) -> u64 {
        self.state.unix
    }

    /// A: `UNIQUE_ID`.
    #[must_use]
    pub fn unique_id(&self) -> &[u8] {
        &self.unique_id
    }

    /// A: the address and the port of the client, as text; empty if [`connection`](super::Transaction::connection) was not told.
    #[must_use]
    pub fn client(&self) -> (&'a [u8], &'a [u8]) {
        (
            self.text(Variable::RemoteAddr),
            self.text(Variable::RemotePort),
        )
    }

    /// A: the same of the server.
    #[must_use]
    pub fn server(&self) -> (&'a [u8], &'a [u8]) {
        (
            self.text(Variable::ServerAddr),
            self.text(Variable::ServerPort),
        )
    }

    /// B: the request line, as it came.
    #[must_use]
    pub fn request_line(&self) -> Option<&'a [u8]> {
        self.part('B', Variable::RequestLine)
    }

    /// B: names and values of the headers of the request, as they came.
    pub fn request_headers(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.list('B', List::RequestHeaders)
    }

    /// C: the body of the request. `None` also where there was none, and where the part was asked for after the body had come.
    #[must_use]
    pub fn request_body(&self) -> Option<&'a [u8]> {
        let body = self.state.request_body.as_slice();
        (self.has('C') && !body.is_empty()).then_some(body)
    }

    /// I: names and values of the arguments in the body.
    pub fn request_arguments(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.list('I', List::ArgsPost)
    }

    /// J: the field, the name and the size of each file that was uploaded.
    pub fn files(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8], &'a [u8])> {
        let sizes = self.list('J', List::FileSizes).map(|(_, size)| size);
        self.list('J', List::Files)
            .zip(sizes)
            .map(|((field, name), size)| (field, name, size))
    }

    /// F: the status of the response as text; empty if there was none.
    #[must_use]
    pub fn response_status(&self) -> Option<&'a [u8]> {
        self.part('F', Variable::ResponseStatus)
    }

    /// F: names and values of the headers of the response.
    pub fn response_headers(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.list('F', List::ResponseHeaders)
    }

    /// E: the body of the response, as far as it was looked at.
    #[must_use]
    pub fn response_body(&self) -> Option<&'a [u8]> {
        let body = self.state.response_body.as_slice();
        (self.has('E') && !body.is_empty()).then_some(body)
    }

    /// H: the rules that matched and are to be audited.
    pub fn matches(&self) -> impl Iterator<Item = Match<'a>> {
        let (program, state) = (self.program, self.state);
        let found: &'a [Found] = if self.has('H') { &state.found } else { &[] };
        found
            .iter()
            .filter(|found| found.audit)
            .map(move |found| Match {
                program,
                state,
                found,
            })
    }

    /// H: what was decided.
    #[must_use]
    pub fn interruption(&self) -> Option<&Interruption> {
        self.interruption.as_ref().filter(|_| self.has('H'))
    }

    /// K: the ids of all rules that matched, in order.
    pub fn matched_ids(&self) -> impl Iterator<Item = u32> {
        let program = self.program;
        let rules = if self.has('K') {
            self.state.matched_rules.as_slice()
        } else {
            &[]
        };
        rules.iter().filter_map(|rule| {
            let rule = program.rules.get(*rule as usize)?;
            rule.head.as_deref().map(|head| head.id)
        })
    }
}
