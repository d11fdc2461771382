//! Checks that several resources share.

use http::HeaderName;

use super::check::{Checks, Reason};

/// Longest name of a resource, bytes.
const NAME_BYTES_MAX: usize = 255;

/// A resource's name: what people call it, and what file and journal know it by.
pub(super) fn name(checks: &mut Checks, name: Option<&str>) -> Option<Box<str>> {
    let name = checks.require("name", name)?;
    let fits = (1..=NAME_BYTES_MAX).contains(&name.len())
        && !name.contains(char::is_control)
        && name.trim().len() == name.len();
    let shape = "1 to 255 bytes, without control characters and without blanks at its ends";
    checks.take(
        "name",
        fits.then(|| name.into()).ok_or(Reason::Shape(shape)),
    )
}

/// `None` for an absent and for an empty text, which clients send for absent.
pub(super) fn given(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

/// A header name; kept in lower case.
pub(super) fn header_name(text: &str) -> Result<HeaderName, Reason> {
    text.parse()
        .map_err(|_| Reason::Shape("the name of an HTTP header"))
}

/// Headers that frame a message or belong to one connection: no setting may write them.
pub(super) fn is_framing(name: &HeaderName) -> bool {
    const FRAMING: [&str; 10] = [
        "connection",
        "content-length",
        "content-type",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    FRAMING.contains(&name.as_str())
}

/// Reports fields that this version does not act on, unless they are empty.
macro_rules! refuse_unsupported {
    ($checks:expr, $spec:expr, $prefix:literal, [$($field:ident),+ $(,)?]) => {$(
        if !$spec.$field.is_blank() {
            $checks.fail(concat!($prefix, stringify!($field)), $crate::resource::Reason::Unsupported);
        }
    )+};
}
pub(super) use refuse_unsupported;
