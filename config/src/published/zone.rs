//! The published list as DNS records, for firewalls that follow names: a part of a zone, in the
//! format of master files (RFC 1035 section 5). Its names are relative, so that whoever loads it
//! says where it stands.

use std::fmt::Write;
use std::net::IpAddr;

use super::{Published, Row, range};
use crate::resource::{AddressState, EgressPool, HOST_ROUTE, rfc3339};

/// How long a resolver may keep a record, seconds: as long as the list itself may be kept.
const TTL_S: u32 = 3600;
/// Longest string of a TXT record, bytes (RFC 1035 section 3.3).
const STRING_BYTES_MAX: usize = 255;
/// The origin: the whole list.
const WHOLE: &str = "@";

impl Published {
    /// As a part of a zone: what may be used, is used or will be used. `@` has all addresses, and
    /// each pool has those of its own under its name.
    #[must_use]
    pub fn to_zone(&self) -> String {
        let mut zone = Zone(String::from(
            "; Addresses that webhooks come from. Names are relative: load it with an origin of your own.\n",
        ));
        let mut about = vec![format!("version={}", self.version)];
        about.extend(stamp("updated_at", self.updated_at_ms));
        zone.text(WHOLE, &about);
        let rows: Vec<&Row> = self.rows.iter().filter(|row| row.is_of_use()).collect();
        let all = rows.iter().flat_map(|row| &row.addresses);
        zone.addresses(WHOLE, all.copied().collect());
        // The rows of a pool stand together.
        for rows in rows.chunk_by(|row, next| row.pool.name() == next.pool.name()) {
            let Some(row) = rows.first() else { continue };
            zone.pool(&row.pool, rows);
        }
        if self.has_host_route {
            zone.text(HOST_ROUTE, &[format!("mode={HOST_ROUTE}")]);
        }
        zone.0
    }
}

impl Row {
    /// Whether connections come from its addresses, or will.
    fn is_of_use(&self) -> bool {
        matches!(
            self.state,
            AddressState::Warming | AddressState::Active | AddressState::Draining
        )
    }
}

struct Zone(String);

impl Zone {
    fn pool(&mut self, pool: &EgressPool, rows: &[&Row]) {
        let owner = &**pool.name();
        if owner.starts_with('-') || owner.ends_with('-') {
            // The name of no host (RFC 952), so name servers do not take it with an address.
            let _ = writeln!(self.0, "; {owner} cannot be a name: see {WHOLE}");
            return;
        }
        let mut about = vec![format!("mode={}", pool.mode().as_str())];
        about.extend(pool.region().map(|region| format!("region={region}")));
        self.text(owner, &about);
        for row in rows {
            let mut strings = vec![format!("state={}", row.state.as_str())];
            strings.extend(stamp("effective_at", row.effective_at_ms));
            strings.extend(stamp("retired_at", row.retired_at_ms));
            strings.extend(row.addresses.iter().copied().map(range));
            self.text(owner, &strings);
        }
        let addresses = rows.iter().flat_map(|row| &row.addresses);
        self.addresses(owner, addresses.copied().collect());
    }

    fn addresses(&mut self, owner: &str, mut addresses: Vec<IpAddr>) {
        addresses.sort_unstable();
        for address in addresses {
            let kind = if address.is_ipv4() { "A" } else { "AAAA" };
            self.record(owner, kind, &address.to_string());
        }
    }

    /// A TXT record of these strings, each cut to what one may have.
    fn text(&mut self, owner: &str, strings: &[String]) {
        let quoted: Vec<String> = strings.iter().map(|text| quoted(text)).collect();
        self.record(owner, "TXT", &quoted.join(" "));
    }

    fn record(&mut self, owner: &str, kind: &str, value: &str) {
        let _ = writeln!(self.0, "{owner} {TTL_S} IN {kind} {value}"); // a text takes all
    }
}

fn stamp(name: &str, unix_ms: Option<i64>) -> Option<String> {
    Some(format!("{name}={}", unix_ms.and_then(rfc3339)?))
}

/// A text as a string of a master file, with what is not plain ASCII as `\DDD`.
fn quoted(text: &str) -> String {
    let cut = text.floor_char_boundary(STRING_BYTES_MAX);
    let mut quoted = String::with_capacity(cut + 2);
    quoted.push('"');
    for byte in text.bytes().take(cut) {
        match byte {
            b'"' | b'\\' => quoted.extend(['\\', char::from(byte)]),
            b' '..=b'~' => quoted.push(char::from(byte)),
            _ => {
                let _ = write!(quoted, "\\{byte:03}");
            }
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests;
