//! Between the body processors and the collections.

use super::lists::{List, Lists};
use super::state::State;
use super::texts::Texts;
use crate::body::{self, BodyError, BodyKind, Limits, Sink};
use crate::compile::{Program, Settings};
use crate::parse::{AuditMode, Processor, Variable};

/// Reads the body of one request into the state.
#[derive(Debug)]
pub(super) struct BodyReader {
    /// `None`: nobody looks into the body, it is kept as `REQUEST_BODY` at most.
    processor: Option<body::Processor>,
    /// Rules may look at it as `REQUEST_BODY`.
    keep: bool,
    /// Part C of the audit log wants it.
    keep_for_audit: bool,
    length: u64,
    failed: Option<BodyError>,
    sizes: Sizes,
}

#[derive(Debug, Default)]
struct Sizes {
    files: u64,
    file_count: usize,
}

impl BodyReader {
    pub(super) fn new(program: &Program, state: &mut State) -> Self {
        state.texts.forget_recent();
        let kind = match state.processor {
            None | Some(Processor::Raw) => None,
            Some(Processor::UrlEncoded) => Some(BodyKind::UrlEncoded),
            Some(Processor::Multipart) => Some(BodyKind::Multipart),
            Some(Processor::Json) => Some(BodyKind::Json),
            Some(Processor::Xml) => Some(BodyKind::Xml),
        };
        let content_type = state
            .lists
            .get(List::RequestHeaders)
            .iter()
            .find(|entry| {
                state
                    .texts
                    .get(entry.name)
                    .eq_ignore_ascii_case(b"content-type")
            })
            .map_or(&[][..], |entry| state.texts.get(entry.value));
        let limits = limits(&program.settings);
        Self {
            processor: kind.map(|kind| {
                body::Processor::new(kind, content_type, limits)
                    .separator(program.settings.separator)
            }),
            // As ModSecurity 2 and Coraza: other processors have their own variables, and the raw body of an upload is noise.
            keep: state.force_request_body
                || matches!(
                    state.processor,
                    Some(Processor::UrlEncoded | Processor::Raw)
                ),
            keep_for_audit: state.audit != AuditMode::Off
                && state.audit_parts(program).contains('C'),
            length: 0,
            failed: None,
            sizes: Sizes::default(),
        }
    }

    /// Bytes so far that are not the content of files.
    pub(super) fn without_files(&self) -> u64 {
        let files = self
            .processor
            .as_ref()
            .map_or(0, body::Processor::file_bytes);
        self.length.saturating_sub(files)
    }

    pub(super) fn feed(&mut self, chunk: &[u8], state: &mut State) {
        self.length = self.length.saturating_add(chunk.len() as u64);
        if self.keep || self.keep_for_audit {
            state.request_body.extend_from_slice(chunk);
        }
        if let Some(processor) = &mut self.processor
            && self.failed.is_none()
        {
            let result = processor.feed(chunk, &mut Collect::of(state, &mut self.sizes));
            self.failed = result.err();
        }
    }

    pub(super) fn finish(&mut self, program: &Program, state: &mut State) {
        if let Some(processor) = &mut self.processor {
            if self.failed.is_none() {
                let result = processor.finish(&mut Collect::of(state, &mut self.sizes));
                self.failed = result.err();
            }
            if processor.has_invalid_escape() {
                state.set_bytes(Variable::UrlencodedError, b"1");
            }
            if let Some(mut flags) = processor.multipart_flags() {
                flags.file_limit_exceeded = self.sizes.file_count > program.settings.file_limit;
                set_flags(state, flags);
            }
        }
        let files = usize::try_from(self.sizes.files).unwrap_or(usize::MAX);
        state.set_shown(Variable::FilesCombinedSize, files);
        if let Some(error) = &self.failed {
            let message = error.to_string();
            for variable in [Variable::ReqbodyError, Variable::ReqbodyProcessorError] {
                state.set_bytes(variable, b"1");
            }
            for variable in [
                Variable::ReqbodyErrorMsg,
                Variable::ReqbodyProcessorErrorMsg,
            ] {
                state.set_bytes(variable, message.as_bytes());
            }
        }
        if self.keep {
            let body = std::mem::take(&mut state.request_body);
            state.set_bytes(Variable::RequestBody, &body);
            state.request_body = body;
        }
        sum_arguments(state);
    }
}

fn limits(settings: &Settings) -> Limits {
    Limits {
        arguments: settings.arguments,
        json_depth: settings.json_depth,
        ..Limits::default()
    }
}

/// Reads the query string into `ARGS_GET`.
pub(super) fn read_query(program: &Program, state: &mut State, query: &[u8]) {
    let mut scratch = std::mem::take(&mut state.query);
    let mut collect = Collect {
        texts: &mut state.texts,
        lists: &mut state.lists,
        arguments: List::ArgsGet,
        sizes: &mut Sizes::default(),
    };
    let settings = &program.settings;
    let result = body::query_with(
        &mut scratch,
        query,
        settings.separator,
        limits(settings),
        &mut collect,
    );
    state.query = scratch;
    match result {
        Ok(false) => {}
        Ok(true) => state.set_bytes(Variable::UrlencodedError, b"1"),
        Err(error) => {
            state.set_bytes(Variable::ReqbodyError, b"1");
            state.set_bytes(Variable::ReqbodyErrorMsg, error.to_string().as_bytes());
        }
    }
    sum_arguments(state);
}

fn sum_arguments(state: &mut State) {
    let sum: usize = [List::ArgsGet, List::ArgsPost]
        .iter()
        .flat_map(|list| state.lists.get(*list))
        .map(|entry| state.texts.length(entry.name) + state.texts.length(entry.value))
        .sum();
    if sum > 0 {
        state.set_shown(Variable::ArgsCombinedSize, sum);
    }
}

fn set_flags(state: &mut State, flags: body::MultipartFlags) {
    for (variable, on) in [
        (Variable::MultipartBoundaryQuoted, flags.boundary_quoted),
        (
            Variable::MultipartBoundaryWhitespace,
            flags.boundary_whitespace,
        ),
        (Variable::MultipartDataAfter, flags.data_after),
        (Variable::MultipartDataBefore, flags.data_before),
        (
            Variable::MultipartFileLimitExceeded,
            flags.file_limit_exceeded,
        ),
        (Variable::MultipartHeaderFolding, flags.header_folding),
        (
            Variable::MultipartInvalidHeaderFolding,
            flags.invalid_header_folding,
        ),
        (Variable::MultipartInvalidPart, flags.invalid_part),
        (Variable::MultipartInvalidQuoting, flags.invalid_quoting),
        (Variable::MultipartLfLine, flags.lf_line),
        (Variable::MultipartMissingSemicolon, flags.missing_semicolon),
        (Variable::MultipartCrlfLfLines, flags.mixed_lines()),
        (Variable::MultipartStrictError, flags.strict_error()),
    ] {
        if on {
            state.set_bytes(variable, b"1");
        }
    }
    let unmatched = usize::from(flags.unmatched_boundary());
    state.set_shown(Variable::MultipartUnmatchedBoundary, unmatched);
}

/// Copies what a processor finds into the collections.
struct Collect<'a> {
    texts: &'a mut Texts,
    lists: &'a mut Lists,
    arguments: List,
    sizes: &'a mut Sizes,
}

impl<'a> Collect<'a> {
    fn of(state: &'a mut State, sizes: &'a mut Sizes) -> Self {
        Self {
            texts: &mut state.texts,
            lists: &mut state.lists,
            arguments: List::ArgsPost,
            sizes,
        }
    }

    fn add(&mut self, list: List, name: &[u8], value: &[u8]) {
        let (name, value) = (self.texts.push(name), self.texts.push(value));
        self.lists.push(list, name, value);
    }
}

impl Sink for Collect<'_> {
    fn argument(&mut self, name: &[u8], value: &[u8]) {
        let name = self.texts.push(name);
        let value = self.texts.push_again(value);
        self.lists.push(self.arguments, name, value);
    }

    fn file(&mut self, field: &[u8], filename: &[u8], size: u64) {
        self.sizes.files = self.sizes.files.saturating_add(size);
        self.sizes.file_count += 1;
        self.add(List::Files, field, filename);
        self.add(List::FileSizes, field, size.to_string().as_bytes());
    }

    fn part_header(&mut self, part: &[u8], line: &[u8]) {
        self.add(List::PartHeaders, part, line);
    }

    fn xml_text(&mut self, text: &[u8]) {
        let text = self.texts.push(text);
        let name = self.texts.push(b"/*");
        self.lists.push(List::XmlText, name, text);
    }

    fn xml_attribute(&mut self, value: &[u8]) {
        let value = self.texts.push(value);
        let name = self.texts.push(b"//@*");
        self.lists.push(List::XmlAttributes, name, value);
    }
}
