//! Lists of a project's resources, in pages.

use serde_json::Value;

use super::call::ProjectCall;
use super::error::{Answer, ApiError};
use super::page::{PageRequest, Pagination};
use super::reply::Reply;
use crate::{JournalError, Selection, Stored, View};

impl ProjectCall {
    /// The page that the query asks for, each row made into JSON by `render`.
    pub(super) async fn list(
        &self,
        message: &'static str,
        selection: Selection,
        render: impl Fn(&View<'_>, &Stored) -> Result<Value, ApiError> + Send + 'static,
    ) -> Answer {
        let request = PageRequest::parse(|name| self.query.get(name));
        let look = move |view: &View<'_>| -> Result<Reply, ApiError> {
            let (rows, pagination) = page(view, &selection, &request)?;
            let rows: Result<Vec<Value>, ApiError> =
                rows.iter().map(|row| render(view, row)).collect();
            Reply::list(message, &rows?, &pagination)
        };
        self.api.control().read(look).await
    }
}

fn page(
    view: &View<'_>,
    selection: &Selection,
    request: &PageRequest,
) -> Result<(Vec<Stored>, Pagination), JournalError> {
    let rows = view.list(selection, &request.scan())?;
    let cut = request.cut(rows, |row| row.uid().to_string());
    let has_before = match cut.before() {
        Some(look) => view.nearest(selection, look)?.is_some(),
        None => false,
    };
    let after = match cut.after() {
        Some(look) => view.nearest(selection, look)?,
        None => None,
    };
    Ok(cut.finish(has_before, after))
}
