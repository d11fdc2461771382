//! URLs that a request names and the gateway calls: only to where the preset says.

use regex::bytes::{Regex, RegexBuilder};

use crate::address::{Host, Scheme, TargetUrl};

use super::compile::CompileError;

/// Most bytes a compiled expression may take: presets come from outside.
const REGEX_BYTES_MAX: usize = 64 * 1024;
/// Longest URL a request may name, bytes.
const URL_BYTES_MAX: usize = 2048;
/// The port of https.
const PORT: u16 = 443;

/// What a URL must look like. It is judged parsed, and what was parsed is what is fetched.
#[derive(Debug)]
pub(super) struct AllowedUrl {
    hosts: Hosts,
    path_suffix: Box<str>,
}

#[derive(Debug)]
enum Hosts {
    List(Vec<Box<str>>),
    Expression(Regex),
}

/// The rule as a preset says it.
pub(super) struct AllowedUrlSpec<'a> {
    pub(super) scheme: &'a str,
    pub(super) hosts: &'a [String],
    pub(super) host_regex: Option<&'a str>,
    pub(super) path_suffix: Option<&'a str>,
}

impl AllowedUrl {
    pub(super) fn compile(field: &str, spec: &AllowedUrlSpec<'_>) -> Result<Self, CompileError> {
        if spec.scheme != "https" {
            let reason = "`scheme` must be `https`: nobody vouches for what comes over http";
            return Err(CompileError::invalid(field, reason));
        }
        let hosts = match (spec.hosts, spec.host_regex) {
            ([], Some(text)) => Hosts::Expression(expression(field, text)?),
            ([_, ..], None) => Hosts::List(
                spec.hosts
                    .iter()
                    .map(|host| host.to_ascii_lowercase().into())
                    .collect(),
            ),
            _ => {
                let reason = "needs either `hosts` or `host_regex`";
                return Err(CompileError::invalid(field, reason));
            }
        };
        Ok(Self {
            hosts,
            path_suffix: spec.path_suffix.unwrap_or_default().into(),
        })
    }

    /// The URL, if it may be called.
    pub(super) fn parse(&self, text: &[u8]) -> Option<TargetUrl> {
        let text = std::str::from_utf8(text).ok()?;
        if text.len() > URL_BYTES_MAX {
            return None;
        }
        let url = TargetUrl::parse(text).ok()?;
        // A literal address is nobody's name.
        let Host::Name(host) = url.host() else {
            return None;
        };
        let is_host = match &self.hosts {
            Hosts::List(hosts) => hosts.contains(host),
            Hosts::Expression(regex) => regex.is_match(host.as_bytes()),
        };
        let is_allowed = url.scheme() == Scheme::Https
            && url.port() == PORT
            && is_host
            && url.path_and_query().path().ends_with(&*self.path_suffix);
        is_allowed.then_some(url)
    }
}

/// An expression of a preset. It must say where the text begins and ends: one that forgot it
/// would allow `sns.amazonaws.com.evil.example`.
pub(super) fn expression(field: &str, text: &str) -> Result<Regex, CompileError> {
    if !(text.starts_with('^') && text.ends_with('$')) || has_open_alternative(text) {
        let reason = format!("`{text}` must begin with `^` and end with `$`, around all of it");
        return Err(CompileError::invalid(field, reason));
    }
    RegexBuilder::new(text)
        .unicode(false)
        .size_limit(REGEX_BYTES_MAX)
        .dfa_size_limit(REGEX_BYTES_MAX)
        .build()
        .map_err(|error| CompileError::invalid(field, format!("`{text}`: {error}")))
}

/// Whether `^` and `$` belong to different alternatives, as in `^a|b$`.
fn has_open_alternative(text: &str) -> bool {
    let (mut depth, mut in_class, mut escaped) = (0_i32, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b']' => in_class = false,
            _ if in_class => {}
            b'[' => in_class = true,
            b'(' => depth += 1,
            b')' => depth -= 1,
            b'|' if depth == 0 => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(hosts: &[&str], regex: Option<&str>, suffix: &str) -> AllowedUrl {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let spec = AllowedUrlSpec {
            scheme: "https",
            hosts: &hosts,
            host_regex: regex,
            path_suffix: Some(suffix),
        };
        AllowedUrl::compile("f", &spec).unwrap()
    }

    #[test]
    fn rules_that_allow_anything_are_refused() {
        for text in [
            "",
            "sns",
            "^sns",
            "sns$",
            "^a|b$",
            "^(a|b$",
            "^\\p{Greek}$",
            "^[a-z]{9999}$",
        ] {
            assert!(expression("f", text).is_err(), "{text}");
        }
        assert!(expression("f", "^(a|b)[|]\\|$").is_ok());
        for (scheme, hosts, regex) in [
            ("http", &["h".to_owned()][..], None),
            ("https", &[], None),
            ("https", &["h".to_owned()], Some("^h$")),
        ] {
            let spec = AllowedUrlSpec {
                scheme,
                hosts,
                host_regex: regex,
                path_suffix: None,
            };
            assert!(AllowedUrl::compile("f", &spec).is_err());
        }
    }

    #[test]
    fn urls_that_only_look_like_the_host_are_refused() {
        let sns = allowed(
            &[],
            Some(r"^sns\.[a-z0-9-]{3,}\.amazonaws\.com(\.cn)?$"),
            ".pem",
        );
        for url in [
            "http://sns.us-east-1.amazonaws.com/x.pem",
            "https://sns.us-east-1.amazonaws.com/x.pem?y",
            "https://sns.us-east-1.amazonaws.com/x.txt",
            "https://sns.us-east-1.amazonaws.com:8443/x.pem",
            "https://sns.us-east-1.amazonaws.com@evil.example/x.pem",
            "https://evil@sns.us-east-1.amazonaws.com/x.pem",
            "https://sns.us-east-1.amazonaws.com.evil.example/x.pem",
            "https://evil.example\\.sns.us-east-1.amazonaws.com/x.pem",
            "https://evil.example#.sns.us-east-1.amazonaws.com/x.pem",
            "https://sns.a.b.amazonaws.com/x.pem",
            "https://127.0.0.1/x.pem",
            "//sns.us-east-1.amazonaws.com/x.pem",
            "",
        ] {
            // A query behind the suffix is the server's business, the path is what is pinned.
            let is_query = url.ends_with("?y");
            assert_eq!(sns.parse(url.as_bytes()).is_some(), is_query, "{url}");
        }
        assert!(
            sns.parse(b"https://sns.us-east-1.amazonaws.com/x.pem\xff")
                .is_none()
        );
        for url in [
            "https://sns.cn-north-1.amazonaws.com.cn/x.pem",
            "HTTPS://SNS.us-east-1.amazonaws.com:443/x.pem",
        ] {
            assert!(sns.parse(url.as_bytes()).is_some(), "{url}");
        }
        let paypal = allowed(&["API.paypal.com"], None, "");
        assert!(paypal.parse(b"https://api.paypal.com/v1").is_some());
        assert!(paypal.parse(b"https://www.paypal.com/v1").is_none());
        let long = format!("https://api.paypal.com/{}", "x".repeat(URL_BYTES_MAX));
        assert!(paypal.parse(long.as_bytes()).is_none());
    }
}
