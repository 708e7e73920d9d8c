//! The collections of a request and a response.

use super::state::rest;
use super::texts::TextId;
use crate::parse::Variable;

/// Where entries are kept; a variable shows the names or the values of one or two of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum List {
    ArgsGet,
    ArgsPost,
    RequestHeaders,
    RequestCookies,
    Files,
    FileSizes,
    PartHeaders,
    XmlText,
    XmlAttributes,
    ResponseHeaders,
}

/// How many lists there are.
pub(crate) const LISTS: usize = 10;

/// One entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) name: TextId,
    pub(crate) value: TextId,
}

/// What a variable shows of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Name,
    Value,
}

/// All lists of a transaction.
#[derive(Debug, Default)]
pub(crate) struct Lists([Vec<Entry>; LISTS]);

impl Lists {
    pub(crate) fn clear(&mut self) {
        self.0.iter_mut().for_each(Vec::clear);
    }

    /// Gives back what is more than the next transaction is likely to need.
    pub(crate) fn rest(&mut self) {
        self.0.iter_mut().for_each(rest);
    }

    pub(crate) fn get(&self, list: List) -> &[Entry] {
        self.0.get(list as usize).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn push(&mut self, list: List, name: TextId, value: TextId) {
        if let Some(entries) = self.0.get_mut(list as usize) {
            entries.push(Entry { name, value });
        }
    }
}

/// The lists behind a collection, in the order in which they are looked at; empty for what is kept elsewhere.
pub(crate) const fn lists_of(variable: Variable) -> &'static [(List, Field)] {
    use Field::{Name, Value};
    match variable {
        Variable::Args => &[(List::ArgsGet, Value), (List::ArgsPost, Value)],
        Variable::ArgsGet => &[(List::ArgsGet, Value)],
        Variable::ArgsPost => &[(List::ArgsPost, Value)],
        Variable::ArgsNames => &[(List::ArgsGet, Name), (List::ArgsPost, Name)],
        Variable::ArgsGetNames => &[(List::ArgsGet, Name)],
        Variable::ArgsPostNames => &[(List::ArgsPost, Name)],
        Variable::RequestHeaders => &[(List::RequestHeaders, Value)],
        Variable::RequestHeadersNames => &[(List::RequestHeaders, Name)],
        Variable::RequestCookies => &[(List::RequestCookies, Value)],
        Variable::RequestCookiesNames => &[(List::RequestCookies, Name)],
        Variable::Files => &[(List::Files, Value)],
        Variable::FilesNames => &[(List::Files, Name)],
        Variable::FilesSizes => &[(List::FileSizes, Value)],
        Variable::MultipartPartHeaders => &[(List::PartHeaders, Value)],
        Variable::ResponseHeaders => &[(List::ResponseHeaders, Value)],
        Variable::ResponseHeadersNames => &[(List::ResponseHeaders, Name)],
        // The names of the entries are the two expressions: the selector chooses between them.
        Variable::Xml => &[(List::XmlText, Value), (List::XmlAttributes, Value)],
        _ => &[],
    }
}
