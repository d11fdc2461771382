//! Checks that several resources share.

use http::HeaderName;

use super::check::{Checks, Range, Reason};

/// Longest name of a resource, bytes.
const NAME_BYTES_MAX: usize = 255;
/// Longest name of a header in a setting, bytes.
const HEADER_NAME_BYTES_MAX: usize = 256;
/// Longest URL, bytes.
pub(super) const URL_BYTES_MAX: usize = 2048;
/// Longest text that a client has kept for itself, its ids and times for example, and longest
/// value of a small setting, bytes.
pub(super) const NOTE_BYTES_MAX: usize = 255;

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

/// Refuses a text that is too long to be kept. Whatever is stored is stored in every revision
/// and sent to every data plane.
pub(super) fn at_most(checks: &mut Checks, field: &str, text: Option<&str>, bytes_max: usize) {
    let bytes = text.map_or(0, str::len) as u64;
    let range = Range {
        min: 0,
        max: bytes_max as u64,
        unit: "bytes",
    };
    checks.number(field, Some(bytes), 0, range);
}

/// A header name; kept in lower case.
pub(super) fn header_name(text: &str) -> Result<HeaderName, Reason> {
    let shape = Reason::Shape("the name of an HTTP header, at most 256 bytes");
    match text.parse() {
        Ok(name) if text.len() <= HEADER_NAME_BYTES_MAX => Ok(name),
        _ => Err(shape),
    }
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
