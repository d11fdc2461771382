//! Parameters of a query. Repeated ones stay apart (contract 2.5).

use axum::extract::Query as Pairs;
use axum::http::Uri;

/// The parameters, in their order.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn of(uri: &Uri) -> Self {
        let pairs = Pairs::try_from_uri(uri);
        Self(pairs.map(|Pairs(pairs)| pairs).unwrap_or_default())
    }

    /// The first one of this name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// The first one of this name that says something.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let text = self.get(name)?;
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// All of this name.
    pub(super) fn all<'q>(&'q self, name: &str) -> impl Iterator<Item = &'q str> {
        let of_name = self.0.iter().filter(move |(key, _)| key == name);
        of_name.map(|(_, value)| value.as_str())
    }
}
