//! Signature headers of a project's own making: for receivers that expect those of another system.
//! Compiled once; an attempt fills in what it knows.

use http::{HeaderName, HeaderValue};

use super::key::SharedKey;
use super::template::{Piece, Template, TemplateError};
use super::{Encoding, Hash, KeyForm, SignError, SigningKey};

/// Longest text between two signatures, bytes.
const SEPARATOR_BYTES_MAX: usize = 16;

/// A signature header as it is written.
#[derive(Debug)]
pub struct HeaderRule<'a> {
    /// Its name.
    pub name: HeaderName,
    /// Its value, with `{signature}` (by the newest secret), `{signatures}` (one of each live
    /// secret), `{timestamp}` or `{id}` in it.
    pub value: &'a str,
    /// What each of `{signatures}` looks like; default `{signature}`.
    pub entry: Option<&'a str>,
    /// What stands between them; default a comma.
    pub separator: Option<&'a str>,
    /// What is signed: `{body}` (default), with `{timestamp}`, `{id}` or `{url}` around it.
    pub signed: Option<&'a str>,
    /// Hash of the MAC; default SHA256.
    pub hash: Option<Hash>,
    /// Text form of the MAC; default hex.
    pub encoding: Option<Encoding>,
    /// How a secret becomes a key; default its text.
    pub key: Option<KeyForm>,
}

/// A setting of a signature header that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct HeaderError {
    /// Which one: a field of [`HeaderRule`].
    pub field: &'static str,
    /// Why.
    pub fault: HeaderFault,
}

/// What is wrong with such a setting: a closed list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    /// It is no template of its place.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// Not a separator.
    #[error("must be from 1 to {SEPARATOR_BYTES_MAX} bytes of printable ASCII without braces")]
    Separator,
    /// Nothing depends on it.
    #[error("has no effect: {0}")]
    NoEffect(&'static str),
}

/// A signature header, ready to be filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureHeader {
    name: HeaderName,
    value: Template,
    mac: Option<MacRule>,
}

/// How its MACs are made.
#[derive(Debug, Clone, PartialEq, Eq)]
struct MacRule {
    signed: Template,
    hash: Hash,
    encoding: Encoding,
    key: KeyForm,
    /// Where every live secret signs.
    list: Option<List>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct List {
    entry: Template,
    separator: Box<str>,
}

/// What an attempt knows.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    /// `webhook-id`.
    pub(super) id: &'a str,
    /// Unix seconds as text.
    pub(super) time: &'a str,
    /// The URL that is called.
    pub(super) url: &'a str,
    /// The bytes that are sent.
    pub(super) body: &'a [u8],
}

/// Names the field of a fault.
fn at<E: Into<HeaderFault>>(field: &'static str) -> impl Fn(E) -> HeaderError {
    move |fault| HeaderError {
        field,
        fault: fault.into(),
    }
}

impl SignatureHeader {
    /// Checks what is written. Whether the name is free is for the scheme to say.
    ///
    /// # Errors
    /// The first field that cannot be used, or would have no effect.
    pub fn compile(rule: HeaderRule<'_>) -> Result<Self, HeaderError> {
        let allowed = [
            Piece::Signature,
            Piece::Signatures,
            Piece::Timestamp,
            Piece::Id,
        ];
        let value = Template::parse(rule.value, &allowed).map_err(at("value"))?;
        let (one, all) = (
            value.count(&Piece::Signature),
            value.count(&Piece::Signatures),
        );
        let list = match (one, all) {
            (0, 0) => {
                rule.refuse_without_signature()?;
                return Ok(Self {
                    name: rule.name,
                    value,
                    mac: None,
                });
            }
            (1, 0) => {
                rule.refuse_without_list()?;
                None
            }
            (0, 1) => Some(List::compile(&rule)?),
            _ => {
                let once = TemplateError::Once("`{signature}` or `{signatures}`");
                return Err(at("value")(once));
            }
        };
        let allowed = [Piece::Body, Piece::Timestamp, Piece::Id, Piece::Url];
        let signed = Template::parse(rule.signed.unwrap_or("{body}"), &allowed);
        let signed = signed.map_err(at("signed"))?;
        if signed.count(&Piece::Body) != 1 {
            return Err(at("signed")(TemplateError::Once("`{body}`")));
        }
        Ok(Self {
            name: rule.name,
            value,
            mac: Some(MacRule {
                signed,
                hash: rule.hash.unwrap_or(Hash::Sha256),
                encoding: rule.encoding.unwrap_or(Encoding::Hex),
                key: rule.key.unwrap_or_default(),
                list,
            }),
        })
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &HeaderName {
        &self.name
    }

    /// Its value, as it was written.
    #[must_use]
    pub const fn value(&self) -> &str {
        self.value.as_str()
    }

    /// What is signed for it, as it was written; `None` when it carries no signature.
    #[must_use]
    pub fn signed(&self) -> Option<&str> {
        self.mac.as_ref().map(|mac| mac.signed.as_str())
    }

    /// Whether it is signed with the newest secret alone.
    pub(super) fn is_by_newest_only(&self) -> bool {
        self.mac.as_ref().is_some_and(|mac| mac.list.is_none())
    }

    /// How a secret becomes its key; `None` when it carries no signature.
    pub(super) fn key_form(&self) -> Option<KeyForm> {
        self.mac.as_ref().map(|mac| mac.key)
    }

    /// What it says at `now_s`; keys in order of creation.
    pub(super) fn fill(
        &self,
        facts: &Facts<'_>,
        keys: &[SigningKey],
        now_s: i64,
    ) -> Result<HeaderValue, SignError> {
        let mut text = String::new();
        for piece in self.value.pieces() {
            match piece {
                Piece::Text(fixed) => text.push_str(fixed),
                Piece::Id => text.push_str(facts.id),
                Piece::Timestamp => text.push_str(facts.time),
                Piece::Signature | Piece::Signatures => {
                    let mac = self.mac.as_ref().ok_or(SignError::NoScheme)?;
                    let live = keys.iter().rev().filter(|key| key.is_live(now_s));
                    mac.fill(facts, live.filter_map(SigningKey::shared), &mut text)?;
                }
                Piece::Url | Piece::Body => {} // not in values
            }
        }
        HeaderValue::try_from(text).map_err(|_| SignError::BadHeader(self.name.clone()))
    }
}

impl HeaderRule<'_> {
    fn refuse_without_signature(&self) -> Result<(), HeaderError> {
        let why = "`value` has no signature";
        for (field, is_given) in [
            ("signed", self.signed.is_some()),
            ("hash", self.hash.is_some()),
            ("encoding", self.encoding.is_some()),
            ("key", self.key.is_some()),
            ("entry", self.entry.is_some()),
            ("separator", self.separator.is_some()),
        ] {
            if is_given {
                return Err(at(field)(HeaderFault::NoEffect(why)));
            }
        }
        Ok(())
    }

    fn refuse_without_list(&self) -> Result<(), HeaderError> {
        let why = "`value` has no `{signatures}`";
        for (field, text) in [("entry", self.entry), ("separator", self.separator)] {
            if text.is_some() {
                return Err(at(field)(HeaderFault::NoEffect(why)));
            }
        }
        Ok(())
    }
}

impl List {
    fn compile(rule: &HeaderRule<'_>) -> Result<Self, HeaderError> {
        let entry = rule.entry.unwrap_or("{signature}");
        let entry = Template::parse(entry, &[Piece::Signature]).map_err(at("entry"))?;
        if entry.count(&Piece::Signature) != 1 {
            return Err(at("entry")(TemplateError::Once("`{signature}`")));
        }
        let separator = rule.separator.unwrap_or(",");
        let is_fine = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'{' | b'}');
        if !(1..=SEPARATOR_BYTES_MAX).contains(&separator.len()) || !separator.bytes().all(is_fine)
        {
            return Err(at("separator")(HeaderFault::Separator));
        }
        Ok(Self {
            entry,
            separator: separator.into(),
        })
    }
}

impl MacRule {
    /// Appends the signature of the first key, or an entry for each of them.
    fn fill<'a>(
        &self,
        facts: &Facts<'_>,
        mut newest_first: impl Iterator<Item = &'a SharedKey>,
        text: &mut String,
    ) -> Result<(), SignError> {
        let pieces = self.signed.pieces().iter().map(|piece| match piece {
            Piece::Text(fixed) => fixed.as_bytes(),
            Piece::Id => facts.id.as_bytes(),
            Piece::Timestamp => facts.time.as_bytes(),
            Piece::Url => facts.url.as_bytes(),
            Piece::Body => facts.body,
            Piece::Signature | Piece::Signatures => &[], // not in signed texts
        });
        let signed: Vec<&[u8]> = pieces.collect();
        let mac = |key: &SharedKey| key.mac(self.key, self.hash, self.encoding, &signed);
        let first = newest_first.next().ok_or(SignError::NoSecret)?;
        let Some(list) = &self.list else {
            text.push_str(&mac(first)?);
            return Ok(());
        };
        for (index, key) in std::iter::once(first).chain(newest_first).enumerate() {
            if index > 0 {
                text.push_str(&list.separator);
            }
            for piece in list.entry.pieces() {
                match piece {
                    Piece::Text(fixed) => text.push_str(fixed),
                    _ => text.push_str(&mac(key)?),
                }
            }
        }
        Ok(())
    }
}
