//! What a client wants of the list, and what it has already.

use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::ingest::reply::Reply;

/// How a list is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// All that is to be said.
    Json,
    /// One range a line, for firewalls.
    Text,
    /// Records, for firewalls that follow names (RFC 4027).
    Zone,
}

impl Form {
    /// `format` of the query, else what is accepted, else JSON.
    pub(super) fn of(query: &str, headers: &HeaderMap) -> Result<Self, Reply> {
        let mut parameters = query.split('&').filter_map(|pair| pair.split_once('='));
        match parameters.find(|(name, _)| *name == "format") {
            None => Ok(Self::accepted(headers)),
            Some((_, "json")) => Ok(Self::Json),
            Some((_, "text")) => Ok(Self::Text),
            Some((_, "zone")) => Ok(Self::Zone),
            Some(_) => Err(Reply::refuse(
                StatusCode::BAD_REQUEST,
                "invalid_parameter",
                "`format` must be `json`, `text` or `zone`",
            )),
        }
    }

    /// Text or records for who wants them more than JSON; JSON for all others, whatever they want.
    fn accepted(headers: &HeaderMap) -> Self {
        let (mut text, mut zone, mut json, mut any) = (0.0, 0.0, None, 0.0);
        let values = headers.get_all(header::ACCEPT).iter();
        let values = values.filter_map(|value| value.to_str().ok());
        for range in values.flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default().to_ascii_lowercase();
            let weight = parts.find_map(|part| {
                let (name, value) = part.split_once('=')?;
                name.trim()
                    .eq_ignore_ascii_case("q")
                    .then(|| weight(value.trim()))
            });
            let weight = weight.unwrap_or(1.0);
            match &*media {
                "text/plain" => text = weight,
                "text/dns" => zone = weight,
                "application/json" => json = Some(weight),
                "*/*" => any = weight,
                _ => {}
            }
        }
        // Records are asked for by who knows what they are.
        let (form, wanted) = match zone > 0.0 && zone >= text {
            true => (Self::Zone, zone),
            false => (Self::Text, text),
        };
        // Who names a form and not JSON means it, also beside a `*/*`.
        let is_wanted = match json {
            Some(json) => wanted > json,
            None => wanted > 0.0 && wanted >= any,
        };
        if is_wanted { form } else { Self::Json }
    }

    pub(super) const fn content_type(self) -> HeaderValue {
        match self {
            Self::Json => HeaderValue::from_static("application/json"),
            Self::Text => HeaderValue::from_static("text/plain; charset=utf-8"),
            Self::Zone => HeaderValue::from_static("text/dns"),
        }
    }
}

/// A weight; what is none counts for nothing.
fn weight(text: &str) -> f32 {
    let weight: Option<f32> = text.parse().ok();
    weight
        .filter(|weight| (0.0..=1.0).contains(weight))
        .unwrap_or(0.0)
}

/// Whether the client has what has this tag.
pub(super) fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let values = headers.get_all(header::IF_NONE_MATCH).iter();
    let values = values.filter_map(|value| value.to_str().ok());
    let mut tags = values.flat_map(|value| value.split(',')).map(str::trim);
    // Weakly compared, as RFC 9110, section 13.1.2, has it: caches may have made it a weak one.
    tags.any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: header::HeaderName, values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(&name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_format_that_there_is_not_is_refused() {
        for query in ["format=xml", "format=", "format=JSON", "a=b&format=csv"] {
            let refused = Form::of(query, &HeaderMap::new()).unwrap_err();
            assert_eq!(refused.code, Some("invalid_parameter"), "{query}");
        }
        let text = with(header::ACCEPT, &["text/plain"]);
        assert_eq!(Form::of("format=json", &text).unwrap(), Form::Json);
        assert_eq!(
            Form::of("x&format=text", &HeaderMap::new()).unwrap(),
            Form::Text
        );
        assert_eq!(Form::of("formats=x", &text).unwrap(), Form::Text);
        assert_eq!(Form::of("format=zone", &text).unwrap(), Form::Zone);
    }

    #[test]
    fn other_forms_are_for_who_wants_them_more_than_json() {
        for (values, form) in [
            (&[][..], Form::Json),
            (&["*/*"], Form::Json),
            (&["text/plain"], Form::Text),
            (&["TEXT/PLAIN; charset=utf-8"], Form::Text),
            (&["text/plain, */*"], Form::Text),
            (&["text/plain;q=0.5, */*;q=0.8"], Form::Json),
            (&["application/json, text/plain, */*"], Form::Json),
            (&["application/json;q=0.9", "text/plain"], Form::Text),
            (&["text/plain;q=0"], Form::Json),
            (&["text/plain;q=x"], Form::Json),
            (&["text/plain;q=-1"], Form::Json),
            (&["text/plain; q = 0.001"], Form::Text),
            (&["text/html, application/xml;q=0.9, */*;q=0.8"], Form::Json),
            (&["application/xml"], Form::Json),
            (&["text/dns"], Form::Zone),
            (&["Text/DNS; q=0.5, */*;q=0.1"], Form::Zone),
            (&["text/dns, text/plain"], Form::Zone),
            (&["text/dns;q=0.5, text/plain"], Form::Text),
            (&["text/dns;q=0.5, application/json"], Form::Json),
            (&["text/dns;q=0"], Form::Json),
            (&["text/*"], Form::Json),
        ] {
            let headers = with(header::ACCEPT, values);
            assert_eq!(Form::of("", &headers).unwrap(), form, "{values:?}");
        }
    }

    #[test]
    fn a_tag_is_known_by_itself_in_a_list_and_as_a_weak_one() {
        let tag = "\"ab\"";
        for (values, is) in [
            (&[][..], false),
            (&["\"abc\""], false),
            (&["ab"], false),
            (&["\"ab\""], true),
            (&["W/\"ab\""], true),
            (&["\"x\" , \"ab\""], true),
            (&["\"x\"", "*"], true),
        ] {
            assert_eq!(
                is_known(&with(header::IF_NONE_MATCH, values), tag),
                is,
                "{values:?}"
            );
        }
    }
}
