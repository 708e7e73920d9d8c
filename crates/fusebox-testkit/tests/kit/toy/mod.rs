//! A small layer with slots, a queue and a shadow mode, which does everything right unless it is told
//! to have a flaw; and the same idea in the other forms a layer can have.

mod backpressure;
mod body;
mod elsewhere;
mod flaw;
mod gate;
mod layer;
mod plain;
mod subject;
mod wire;

pub(crate) use backpressure::Backpressure;
pub(crate) use elsewhere::Elsewhere;
pub(crate) use flaw::Flaw;
pub(crate) use plain::PlainToy;
pub(crate) use subject::Toy;

use body::ToyBody;
use gate::{Gate, KIND, Place, Record, Stage};
use layer::{ANOTHER, Answer, ToyLayer, ToyService, inner_ready};
use subject::fixture;
use wire::{changed, refused};
