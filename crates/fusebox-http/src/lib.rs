//! What the fusebox layers know of HTTP and gRPC, once for all of them.
//!
//! | question | answer |
//! | --- | --- |
//! | who is asking? | [`identity`] |
//! | what does the request speak? | [`Protocol`] |
//! | what does a refusal look like? | [`refusal`], [`standard_response`], [`Respond`] |
//! | how long does an answer ask to be left alone? | [`retry_after`] |
//! | what became of the call? | [`Judge`], [`Classify`], [`GrpcCode`] |
//! | what holds a slot until the body has ended? | [`GuardedBody`], [`Guard`] |
//!
//! # Features
//!
//! | feature | adds |
//! | --- | --- |
//! | `axum` | the peer address from axum's `ConnectInfo` |
//! | `tonic` | the peer address from tonic's `TcpConnectInfo` |
//! | `serde` | refusals and snapshots (of `fusebox-core`) serialise |

mod body;
mod classify;
mod grpc;
pub mod identity;
mod number;
mod protocol;
mod respond;
mod retry_after;

pub use body::{Guard, GuardedBody};
pub use classify::{Asked, Classify, Judge, Judgement, Standard};
pub use grpc::GrpcCode;
pub use number::number;
pub use protocol::Protocol;
pub use respond::{Respond, grpc_code, http_status, refusal, refusal_with_room, standard_response};
pub use retry_after::retry_after;
