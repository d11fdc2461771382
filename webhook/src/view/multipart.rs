//! The view of `multipart/form-data` (RFC 7578): an object of the first part of each name.
//!
//! Strict in the framing, since a body whose parts are disputable has no view worth deciding by.

use memchr::memmem;
use serde_json::{Map, Value, json};

/// Parts of a body.
const PARTS_MAX: usize = 1_000;
/// Headers of a part: three are defined.
const HEADERS_MAX: usize = 16;
/// Longest boundary (RFC 2046, section 5.1.1).
const BOUNDARY_BYTES_MAX: usize = 70;

/// The boundary in the value of a content type.
pub(super) fn boundary(content_type: &str) -> Option<String> {
    let boundary = parameter(content_type, "boundary")?;
    (1..=BOUNDARY_BYTES_MAX)
        .contains(&boundary.len())
        .then_some(boundary)
}

/// The view, when all parts are well formed and the last one is closed.
pub(super) fn view(boundary: &str, body: &[u8]) -> Option<Value> {
    let mut view = Map::new();
    let mut rest = after_first_boundary(boundary, body)?;
    let delimiter = format!("\r\n--{boundary}");
    let delimiter = memmem::Finder::new(&delimiter);
    for _ in 0..PARTS_MAX {
        if rest.starts_with(b"--") {
            return Some(Value::Object(view)); // the closing boundary; what follows is no part
        }
        let part = after_line_end(rest)?;
        // A part without headers and text is an empty line, whose end is the delimiter's start.
        let end = delimiter.find(part)?;
        let (name, value) = read_part(part.get(..end)?)?;
        view.entry(name).or_insert(value);
        rest = part.get(end + delimiter.needle().len()..)?;
    }
    None
}

/// What follows the first boundary; a preamble before it is ignored.
fn after_first_boundary<'b>(boundary: &str, body: &'b [u8]) -> Option<&'b [u8]> {
    let opening = format!("--{boundary}");
    if let Some(rest) = body.strip_prefix(opening.as_bytes()) {
        return Some(rest);
    }
    let opening = format!("\r\n{opening}");
    let at = memmem::find(body, opening.as_bytes())?;
    body.get(at + opening.len()..)
}

/// A boundary may be followed by blanks up to the end of its line.
fn after_line_end(rest: &[u8]) -> Option<&[u8]> {
    let blanks = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t'));
    let blanks = blanks.count();
    rest.get(blanks..)?.strip_prefix(b"\r\n")
}

/// Name and view of a part.
fn read_part(part: &[u8]) -> Option<(String, Value)> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let httparse::Status::Complete((at, headers)) =
        httparse::parse_headers(part, &mut headers).ok()?
    else {
        return None;
    };
    let content = part.get(at..)?;
    let value_of = |name: &str| {
        let found = headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name));
        found.and_then(|header| std::str::from_utf8(header.value).ok())
    };
    let disposition = value_of("content-disposition")?;
    let is_field = disposition.split(';').next()?.trim();
    if !is_field.eq_ignore_ascii_case("form-data") {
        return None;
    }
    let name = parameter(disposition, "name")?;
    let value = match parameter(disposition, "filename") {
        Some(filename) => json!({
            "filename": filename,
            "content_type": value_of("content-type").unwrap_or("application/octet-stream"),
            "size": content.len(),
        }),
        None => Value::String(String::from_utf8_lossy(content).into_owned()),
    };
    Some((name, value))
}

/// The value of a parameter: a token, or a quoted text. Browsers write a quote as `%22` and other
/// clients as `\"`; a backslash before anything else is one, as paths in file names have it.
fn parameter(header: &str, name: &str) -> Option<String> {
    let mut rest = header.split_once(';')?.1;
    loop {
        let (key, after) = rest.split_once('=')?;
        let is_it = key.trim().eq_ignore_ascii_case(name);
        let (value, after) = match after.trim_start().strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let end = after.find(';').unwrap_or(after.len());
                let (token, after) = after.split_at(end);
                (token.trim().to_owned(), after)
            }
        };
        if is_it {
            return Some(value);
        }
        rest = after.trim_start().strip_prefix(';')?;
    }
}

/// The text up to the closing quote, and what follows it.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut text = String::new();
    let mut characters = quoted.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        match (character, characters.peek()) {
            ('"', _) => return Some((text, quoted.get(at + 1..)?)),
            ('\\', Some((_, escaped @ ('"' | '\\')))) => {
                text.push(*escaped);
                characters.next();
            }
            _ => text.push(character),
        }
    }
    None
}
