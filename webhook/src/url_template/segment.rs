//! What a segment with a token may be, so that no receiver reads another path than the template's.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// How often a receiver is thought to decode a segment. What is still coded then is refused.
const DECODINGS_MAX: usize = 4;

/// Whether a segment stays one segment, and none that leads elsewhere, however often a receiver
/// decodes it.
pub(super) fn stays_one(segment: &str) -> bool {
    let mut text = Cow::Borrowed(segment);
    for _ in 0..DECODINGS_MAX {
        if !leads_nowhere_else(&text) {
            return false;
        }
        if !text.contains('%') {
            return true;
        }
        // Overlong forms are no UTF-8 either: some decoders see a slash in them.
        let Ok(decoded) = percent_decode_str(&text).decode_utf8() else {
            return false;
        };
        if decoded == text {
            return true;
        }
        text = Cow::Owned(decoded.into_owned());
    }
    false
}

/// Neither the end of a path, nor several segments, nor a dot segment, nor none. Servers take a
/// backslash for a slash, `%u002f` for one, cut names off at a control character, and drop
/// parameters behind a semicolon and blanks before they look at dots.
fn leads_nowhere_else(segment: &str) -> bool {
    let ends_it = |c: char| matches!(c, '/' | '\\' | '?' | '#') || c.is_control();
    if segment.contains(ends_it) || has_wide_escape(segment) {
        return false;
    }
    let name = segment.split(';').next().unwrap_or_default();
    let is_blank = |c: char| c.is_whitespace() || c == '+';
    let has_more = name.contains(|c: char| c != '.' && !is_blank(c));
    let is_long_dots = name.len() > 2 && name.bytes().all(|byte| byte == b'.');
    has_more || is_long_dots
}

/// Whether there is a `%u`, as in `%u002f`, which is no escape of URLs and some servers decode.
fn has_wide_escape(segment: &str) -> bool {
    let mut escapes = segment.split('%').skip(1);
    escapes.any(|escape| escape.starts_with(['u', 'U']))
}
