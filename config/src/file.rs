//! The resource file: projects and all in them, pools of source addresses, and policies that close
//! destinations, as a person writes them.
//!
//! ```yaml
//! egress_pools:
//!   - {name: default, addresses: [{address: 192.0.2.1}]}
//! projects:
//!   - name: orders
//!     type: outgoing
//!     endpoints:
//!       - {name: customer, url: https://example.com/hooks, secret: a long random text}
//!     subscriptions:
//!       - {name: all, endpoint_id: customer}
//! ```
//!
//! Parsing checks everything that can be known without the journal, with the very rules that
//! the data plane applies, and reports all problems at once. Which ids resources without a `uid`
//! have is for the journal to say: [`File::plan`].

mod check;
mod homes;
mod parse;
mod plan;
mod policies;
mod pools;

#[cfg(test)]
mod tests;

use outrider_webhook::id::Uid;

use crate::problem::Problem;
use crate::resource::{
    ApiKeySpec, EgressPolicySpec, EgressPoolSpec, EndpointSpec, EventTypeSpec, ProjectSpec,
    SourceSpec, SubscriptionSpec,
};

pub use plan::{Naming, PlanError, Planned};

/// A checked resource file. There is no `Debug`: it holds secrets.
pub struct File {
    egress_policies: Vec<Item<EgressPolicySpec>>,
    egress_pools: Vec<Item<EgressPoolSpec>>,
    projects: Vec<ProjectItem>,
}

/// A project and all in it.
struct ProjectItem {
    uid: Option<Uid>,
    spec: ProjectSpec,
    event_types: Vec<Item<EventTypeSpec>>,
    sources: Vec<Item<SourceSpec>>,
    endpoints: Vec<Item<EndpointSpec>>,
    subscriptions: Vec<Item<SubscriptionSpec>>,
    api_keys: Vec<Item<ApiKeySpec>>,
}

/// One resource of a project, or one that is of none.
struct Item<S> {
    uid: Option<Uid>,
    spec: S,
}

/// Parses and checks a resource file.
///
/// # Errors
/// All problems, in the order of their lines.
pub fn parse(text: &str) -> Result<File, Vec<Problem>> {
    parse::parse(text)
}
