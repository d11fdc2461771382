//! The URL a provider was told, for schemes that sign it.
//!
//! It comes from configuration: behind a proxy the scheme, host and port of the request are not
//! those the provider called, and `Host` and `X-Forwarded-*` are the sender's to choose.

/// Which spelling of the URL was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As configured.
    AsConfigured,
    /// With the port, also when it is the scheme's default.
    WithPort,
    /// Without any port.
    WithoutPort,
}

/// A configured public URL: `http` or `https`, host, maybe port, maybe path. With a path it is
/// the whole address up to the query; without one the path of the request follows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PublicUrl<'a> {
    scheme: &'a str,
    host: &'a str,
    port: Option<&'a str>,
    path: &'a str,
}

impl<'a> PublicUrl<'a> {
    /// Takes a URL apart. The texts are kept as they are: a provider signs what it was told, so
    /// nothing is normalised.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub(super) fn parse(text: &'a str) -> Result<Self, &'static str> {
        if text
            .bytes()
            .any(|byte| !byte.is_ascii_graphic() || matches!(byte, b'?' | b'#' | b'@' | b'\\'))
        {
            return Err("must be printable ASCII without user, query or fragment");
        }
        let (scheme, rest) = text.split_once("://").ok_or("must be an absolute URL")?;
        if !matches!(scheme, "http" | "https") {
            return Err("must begin with http:// or https://");
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        // An IPv6 literal has colons of its own, inside brackets.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (authority, None),
        };
        if host.is_empty()
            || (host.contains(':') && !(host.starts_with('[') && host.ends_with(']')))
        {
            return Err("must name a host");
        }
        if port.is_some_and(|port| {
            !port.bytes().all(|byte| byte.is_ascii_digit()) || port.parse::<u16>().is_err()
        }) {
            return Err("must have a port of 0 to 65535, or none");
        }
        Ok(Self {
            scheme,
            host,
            port,
            path,
        })
    }

    /// The URL up to and including its own path.
    pub(super) fn base(&self, form: Form) -> String {
        let default_port = if self.scheme == "http" { "80" } else { "443" };
        let port = match form {
            Form::AsConfigured => self.port,
            Form::WithPort => Some(self.port.unwrap_or(default_port)),
            Form::WithoutPort => None,
        };
        let (colon, port) = port.map_or(("", ""), |port| (":", port));
        format!("{}://{}{colon}{port}{}", self.scheme, self.host, self.path)
    }

    /// Whether the path of the request follows the base.
    pub(super) fn is_origin(&self) -> bool {
        self.path.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_no_provider_can_have_been_told_are_refused() {
        for text in [
            "",
            "hooks.example.com/in",
            "ftp://h/",
            "https://",
            "https:///in",
            "https://u@h/",
            "https://h/?a",
            "https://h/#a",
            "https://h:x/",
            "https://h:65536/",
            "https://h:/",
            "https://:1/",
            "https://a b/",
            "https://ü/",
            "https://::1/",
        ] {
            assert!(PublicUrl::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ports_are_added_and_removed() {
        for (text, with, without) in [
            ("https://h/in", "https://h:443/in", "https://h/in"),
            ("http://h", "http://h:80", "http://h"),
            ("https://h:8443/in/", "https://h:8443/in/", "https://h/in/"),
            (
                "https://[::1]/in",
                "https://[::1]:443/in",
                "https://[::1]/in",
            ),
            (
                "https://[::1]:1/in",
                "https://[::1]:1/in",
                "https://[::1]/in",
            ),
        ] {
            let url = PublicUrl::parse(text).unwrap();
            assert_eq!(
                (
                    url.base(Form::WithPort).as_str(),
                    url.base(Form::WithoutPort).as_str()
                ),
                (with, without)
            );
            assert_eq!(url.base(Form::AsConfigured), text);
        }
    }
}
