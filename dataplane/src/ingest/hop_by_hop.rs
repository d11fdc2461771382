//! Headers that belong to one connection, not to what travels on it (RFC 9110 section 7.6.1).

use http::{HeaderMap, HeaderName, header};

const ALWAYS: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// The headers of one message that end with its connection.
pub(super) struct HopByHop {
    /// Those that its `Connection` names.
    listed: Vec<HeaderName>,
}

impl HopByHop {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let values = headers.get_all(header::CONNECTION).iter();
        let names = values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','));
        Self {
            listed: names.filter_map(|name| name.trim().parse().ok()).collect(),
        }
    }

    pub(super) fn contains(&self, name: &HeaderName) -> bool {
        ALWAYS.contains(name) || self.listed.contains(name)
    }
}
