//! What rules are compiled to: no strings to compare, no names to look up, nothing left to parse.

use std::collections::HashMap;

use aho_corasick::AhoCorasick;
use ipnet::IpNet;

use super::Resolvers;
use super::bits::Bits;
use super::filter::{Probe, Screen};
use super::regex::Regex;
use super::restrict::{PLAIN, Plain, alphabet_of};
use super::settings::Settings;
use crate::budget::WorkBudget;
use crate::engine::TxValue;
use crate::error::Location;
use crate::parse::{Allow, AuditMode, EngineMode, Processor, Variable};
use crate::{ByteSet, Transformation};

/// Compiled rules; shared by every transaction.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) settings: Settings,
    pub(crate) budget: WorkBudget,
    pub(crate) resolvers: Resolvers,
    /// Heads and links; a link stands after its head.
    pub(crate) rules: Vec<Rule>,
    /// The heads of phases 1 to 5, in order.
    pub(crate) phases: [Vec<u32>; 5],
    /// Chains of transformations as a tree; node 0 is the value as it is.
    pub(crate) nodes: Vec<Node>,
    pub(crate) regexes: Vec<Regex>,
    /// What each expression is for texts of each plain alphabet.
    pub(crate) plain: Vec<[Plain; PLAIN]>,
    pub(crate) phrases: Vec<AhoCorasick>,
    pub(crate) tx: TxTable,
    /// Filters for requests and for responses; `None` for the plain engine.
    pub(crate) screens: Option<[Screen; 2]>,
    /// What `ctl:ruleRemoveTarget..` can leave out, by index.
    pub(crate) exclusions: Vec<Exclusion>,
}

impl Program {
    /// The expression to run on a text of these bytes instead of `regex`; `None` if it cannot match.
    pub(crate) fn regex_for(&self, regex: u32, present: ByteSet) -> Option<u32> {
        let plain =
            alphabet_of(present).and_then(|alphabet| self.plain.get(regex as usize)?.get(alphabet));
        match plain {
            None | Some(Plain::Same) => Some(regex),
            Some(Plain::Other(other)) => Some(*other),
            Some(Plain::Never) => None,
        }
    }
}

/// A step in the tree of transformation chains.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) parent: u32,
    /// `None` only for the root.
    pub(crate) step: Option<Transformation>,
    /// Without any of these bytes no step from the root to here changes anything.
    pub(crate) triggers: ByteSet,
    /// Some step on the way changes even an empty value.
    pub(crate) always_changes: bool,
}

/// The names of TX and what they hold at the start.
#[derive(Debug, Default)]
pub(crate) struct TxTable {
    pub(crate) names: Vec<Box<[u8]>>,
    pub(crate) slots: HashMap<Box<[u8]>, u16>,
    pub(crate) initial: Vec<Initial>,
    /// The same as the slots of a transaction start with.
    pub(crate) start: Vec<TxValue>,
}

impl TxTable {
    pub(super) fn finish(&mut self) {
        self.start = self
            .initial
            .iter()
            .map(|initial| match initial {
                Initial::Unset => TxValue::Unset,
                Initial::Number(number) => TxValue::Number(*number),
                Initial::Text(_) => TxValue::Initial,
            })
            .collect();
    }
}

/// What a slot holds before the first rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Initial {
    #[default]
    Unset,
    Number(i64),
    Text(Box<[u8]>),
}

/// Captures take the first ten slots: `TX:0` to `TX:9`.
pub(crate) const CAPTURES: u16 = 10;

/// One rule of a chain.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) targets: Box<[Target]>,
    pub(crate) operator: Operator,
    pub(crate) negated: bool,
    /// The last node of its transformations.
    pub(crate) node: u32,
    /// With `multiMatch`: every node on the way, the root first.
    pub(crate) multi_match: Box<[u32]>,
    pub(crate) capture: bool,
    /// Whether some rule may look at more of a capture than the whole match: finding groups costs many times more.
    pub(crate) capture_groups: bool,
    pub(crate) effects: Box<[Effect]>,
    pub(crate) next: Option<u32>,
    /// Which head this rule belongs to, counted over all phases: the index in removal sets.
    pub(crate) head_index: u32,
    /// Its bit in a screen, if a look at a text can tell that it does not match.
    pub(crate) probe: Option<Probe>,
    /// A `SecAction`: looks at nothing, always matches.
    pub(crate) is_action: bool,
    /// Only the first rule of a chain has it.
    pub(crate) head: Option<Box<Head>>,
    pub(crate) location: Location,
}

/// What a head says for its whole chain.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) id: u32,
    pub(crate) phase: u8,
    pub(crate) msg: Text,
    pub(crate) logdata: Text,
    pub(crate) tags: Box<[Text]>,
    pub(crate) ver: Box<str>,
    pub(crate) rev: Box<str>,
    pub(crate) severity: Option<u8>,
    pub(crate) log: bool,
    pub(crate) audit: bool,
    pub(crate) disruptive: Disruptive,
    pub(crate) status: u16,
    /// The position in the list of its phase to go on at after a match.
    pub(crate) skip_to: Option<u32>,
}

/// What becomes of the request.
#[derive(Debug)]
pub(crate) enum Disruptive {
    Pass,
    Deny,
    Drop,
    Redirect(Text),
    Allow(Allow),
}

/// One target of a rule.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) count: bool,
    pub(crate) variable: Variable,
    pub(crate) select: Select,
    /// Of the same variable, never part of what is looked at.
    pub(crate) except: Box<[Select]>,
}

/// Which parts of a collection.
#[derive(Clone, Debug)]
pub(crate) enum Select {
    All,
    /// In lower case.
    Name(Box<[u8]>),
    Regex(u32),
    Tx(u16),
}

/// An operator with its argument ready.
#[derive(Debug)]
pub(crate) enum Operator {
    Always,
    Never,
    Rx(u32),
    Phrases(u32),
    Within(Text),
    Contains(Text),
    ContainsWord(Text),
    StrEq(Text),
    BeginsWith(Text),
    EndsWith(Text),
    Compare(Order, Amount),
    IpMatch(Box<[IpNet]>),
    /// Matches when there is a byte outside.
    ByteRange(ByteSet),
    UrlEncoding,
    Utf8Encoding,
    DetectSqli,
    DetectXss,
    /// On the block list of this name.
    Rbl(Box<str>),
    GeoLookup,
}

/// The numeric comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Eq,
    Ge,
    Gt,
    Le,
    Lt,
}

impl Order {
    pub(crate) const fn holds(self, left: i64, right: i64) -> bool {
        match self {
            Self::Eq => left == right,
            Self::Ge => left >= right,
            Self::Gt => left > right,
            Self::Le => left <= right,
            Self::Lt => left < right,
        }
    }
}

/// A number, known or looked up.
#[derive(Debug)]
pub(crate) enum Amount {
    Known(i64),
    Tx(u16),
    Text(Text),
}

/// Text, known or put together when it is needed.
#[derive(Clone, Debug)]
pub(crate) enum Text {
    Known(Box<[u8]>),
    Parts(Box<[Piece]>),
}

/// A piece of a [`Text`].
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    Text(Box<[u8]>),
    Tx(u16),
    Value(Variable, Option<Box<[u8]>>),
}

/// What a match does besides the verdict.
#[derive(Debug)]
pub(crate) enum Effect {
    SetTx(u16, Change),
    SetTxByName(Text, Change),
    SetPart(Variable, Text, Change),
    Expire(Variable, Text, u32),
    InitCol(Variable, Text),
    Ctl(Ctl),
}

/// How a variable changes.
#[derive(Debug)]
pub(crate) enum Change {
    Remove,
    Set(Text),
    SetNumber(i64),
    Add(Amount),
    Subtract(Amount),
}

/// A `ctl`, with the rules that it means looked up.
#[derive(Debug)]
pub(crate) enum Ctl {
    AuditEngine(AuditMode),
    AuditLogParts(Box<str>),
    ForceRequestBodyVariable(bool),
    RequestBodyAccess(bool),
    RequestBodyProcessor(Processor),
    ResponseBodyAccess(bool),
    RuleEngine(EngineMode),
    Remove(Bits),
    /// Index into [`Program::exclusions`].
    Exclude(u32),
}

/// A target that is left out of some rules for the rest of a transaction.
#[derive(Debug)]
pub(crate) struct Exclusion {
    pub(crate) heads: Bits,
    pub(crate) variable: Variable,
    pub(crate) select: Select,
}
