//! Texts with placeholders: what a signature header says, and what is signed for it.

/// Longest template, bytes.
const BYTES_MAX: usize = 1024;

/// A text whose placeholders are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    text: Box<str>,
    pieces: Box<[Piece]>,
}

/// One piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Text(Box<str>),
    /// `webhook-id` of the delivery.
    Id,
    /// When the attempt is made, Unix seconds.
    Timestamp,
    /// The URL that is called, with its query.
    Url,
    /// The bytes that are sent.
    Body,
    /// The MAC by the newest secret; in an entry by the one it is of.
    Signature,
    /// An entry for each live secret.
    Signatures,
}

impl Piece {
    const fn name(&self) -> &'static str {
        match self {
            Self::Text(_) => "",
            Self::Id => "id",
            Self::Timestamp => "timestamp",
            Self::Url => "url",
            Self::Body => "body",
            Self::Signature => "signature",
            Self::Signatures => "signatures",
        }
    }
}

/// What is wrong with a template: a closed list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Empty, or too long.
    #[error("must be from 1 to {BYTES_MAX} bytes")]
    Length,
    /// Could not stand in a header.
    #[error("must be printable ASCII, without blanks at its ends")]
    Character,
    /// A brace that opens or closes nothing.
    #[error("has a brace without its partner")]
    Brace,
    /// Not a placeholder, or not one of this place.
    #[error("`{{{name}}}` cannot stand here, only {known}")]
    Unknown {
        /// As it was written.
        name: String,
        /// What can stand there.
        known: String,
    },
    /// Something has to be there, and once only.
    #[error("must have {0} exactly once")]
    Once(&'static str),
}

impl Template {
    /// Reads a text in which these pieces may stand.
    pub(super) fn parse(text: &str, allowed: &[Piece]) -> Result<Self, TemplateError> {
        if !(1..=BYTES_MAX).contains(&text.len()) {
            return Err(TemplateError::Length);
        }
        let is_printable = |byte: u8| (b' '..=b'~').contains(&byte);
        if !text.bytes().all(is_printable) || text.trim_ascii().len() != text.len() {
            return Err(TemplateError::Character);
        }
        let (mut pieces, mut rest) = (Vec::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            let inside = from.strip_prefix('{').ok_or(TemplateError::Brace)?;
            let (name, after) = inside.split_once('}').ok_or(TemplateError::Brace)?;
            if name.contains('{') {
                return Err(TemplateError::Brace);
            }
            if !before.is_empty() {
                pieces.push(Piece::Text(before.into()));
            }
            let known = allowed.iter().find(|piece| piece.name() == name);
            pieces.push(known.cloned().ok_or_else(|| unknown(name, allowed))?);
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.into()));
        }
        Ok(Self {
            text: text.into(),
            pieces: pieces.into(),
        })
    }

    /// As it was written.
    pub(super) const fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) const fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// How often a piece stands in it.
    pub(super) fn count(&self, piece: &Piece) -> usize {
        self.pieces.iter().filter(|other| *other == piece).count()
    }
}

fn unknown(name: &str, allowed: &[Piece]) -> TemplateError {
    let known: Vec<String> = allowed
        .iter()
        .map(|piece| format!("`{{{}}}`", piece.name()))
        .collect();
    TemplateError::Unknown {
        name: name.to_owned(),
        known: known.join(", "),
    }
}
