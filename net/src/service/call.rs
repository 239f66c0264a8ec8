//! A call, and how it is carried out.

use bytes::Bytes;

use super::{query::Query, reply::Reply};
use crate::{Node, Result};

/// What a call has to work with.
pub(super) struct Call<'a> {
    pub node: &'a dyn Node,
    pub query: Query,
    pub body: Bytes,
    /// The header of that name, for forms.
    pub content_type: &'a str,
    /// Where clients are told to find links: the host that they called.
    pub host: &'a str,
}

/// One call of a family.
#[derive(Clone, Copy)]
pub(super) struct Route {
    /// Its name for an operator.
    pub name: &'static str,
    /// How many bytes its body may have.
    pub limit: usize,
    /// How often it may be called by one client.
    pub guarded: Guard,
    /// What it does.
    pub run: fn(&Call<'_>) -> Result<Reply>,
}

/// Which calls are counted against the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Guard {
    /// None of them.
    Free,
    /// Those that fail: who guesses.
    Failures,
    /// Each: who can be a nuisance without any proof of who they are.
    Each,
}

impl Route {
    /// A call without a body.
    pub const fn get(name: &'static str, run: fn(&Call<'_>) -> Result<Reply>) -> Self {
        Self::post(name, 0, run)
    }

    /// A call with a body of up to `limit` bytes.
    pub const fn post(name: &'static str, limit: usize, run: fn(&Call<'_>) -> Result<Reply>) -> Self {
        Self { name, limit, guarded: Guard::Free, run }
    }

    /// The same call, guarded.
    pub const fn guarded(self, guarded: Guard) -> Self {
        Self { guarded, ..self }
    }
}

/// The call at a path; none if there is nothing.
pub(super) fn route(path: &str) -> Option<Route> {
    if let Some(method) = path.strip_prefix("/api/v0/") {
        return super::storage::route(method);
    }
    let (family, method) = path.strip_prefix("/peergos/v0/")?.split_once('/')?;
    match family {
        "mutable" => Some(super::mutable::route(method)),
        "core" => Some(super::core::route(method)),
        "login" => Some(super::login::route(method)),
        "bats" => Some(super::bats::route(method)),
        "social" => Some(super::social::route(method)),
        "storage" => Some(super::space::route(method)),
        "server-message" => Some(super::admin::messages(method)),
        "admin" => Some(super::admin::route(method)),
        _ => None,
    }
}

/// A method that a family does not have.
pub(super) const fn unknown(run: fn(&Call<'_>) -> Result<Reply>) -> Route {
    Route::post("unknown", 0, run)
}
