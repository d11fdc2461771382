//! Texts with `{placeholders}`, and the parameters that may stand in them.

use std::collections::{BTreeMap, BTreeSet};

use super::compile::CompileError;
use super::preset::ParamSpec;

/// Most values of a list parameter.
const LIST_MAX: usize = 1000;

/// A piece of a text with placeholders.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Token<'t> {
    Text(&'t str),
    /// `{name}` or `{name:argument}`.
    Placeholder {
        name: &'t str,
        argument: Option<&'t str>,
    },
}

/// Takes a text apart. Braces have no other meaning and cannot be escaped: no provider needs it.
pub(super) fn tokens<'t>(field: &str, text: &'t str) -> Result<Vec<Token<'t>>, CompileError> {
    let unbalanced = || CompileError::invalid(field, "the braces of its placeholders do not match");
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (inside, after) = after.split_once('}').ok_or_else(unbalanced)?;
        if before.contains('}') || inside.contains('{') {
            return Err(unbalanced());
        }
        if !before.is_empty() {
            tokens.push(Token::Text(before));
        }
        let (name, argument) = match inside.split_once(':') {
            Some((name, argument)) => (name, Some(argument)),
            None => (inside, None),
        };
        tokens.push(Token::Placeholder { name, argument });
        rest = after;
    }
    if rest.contains('}') {
        return Err(unbalanced());
    }
    if !rest.is_empty() {
        tokens.push(Token::Text(rest));
    }
    Ok(tokens)
}

/// The parameters of one source: those of the preset, overridden by the source's own.
pub(super) struct Params<'a> {
    preset: &'a BTreeMap<String, Option<ParamSpec>>,
    source: &'a BTreeMap<String, ParamSpec>,
    used: BTreeSet<String>,
}

impl<'a> Params<'a> {
    pub(super) fn new(
        preset: &'a BTreeMap<String, Option<ParamSpec>>,
        source: &'a BTreeMap<String, ParamSpec>,
    ) -> Self {
        Self {
            preset,
            source,
            used: BTreeSet::new(),
        }
    }

    /// The value of a parameter that `field` asks for as one text.
    pub(super) fn get(&mut self, field: &str, name: &str) -> Result<&'a str, CompileError> {
        match self.find(field, name)? {
            ParamSpec::Text(value) => Ok(value),
            ParamSpec::List(_) => Err(CompileError::invalid(
                &format!("params.{name}"),
                "must be one text, not a list",
            )),
        }
    }

    /// The values of a parameter that `field` asks for as a list; one text is a list of one.
    pub(super) fn list(&mut self, field: &str, name: &str) -> Result<Vec<&'a str>, CompileError> {
        let values = match self.find(field, name)? {
            ParamSpec::Text(value) => vec![value.as_str()],
            ParamSpec::List(values) => values.iter().map(String::as_str).collect(),
        };
        if values.len() > LIST_MAX {
            let reason = "lists more than 1000 values";
            return Err(CompileError::invalid(&format!("params.{name}"), reason));
        }
        Ok(values)
    }

    fn find(&mut self, field: &str, name: &str) -> Result<&'a ParamSpec, CompileError> {
        self.used.insert(name.to_owned());
        let default = || self.preset.get(name)?.as_ref();
        let value = self.source.get(name).or_else(default);
        value.ok_or_else(|| CompileError::MissingParam {
            field: field.to_owned(),
            name: name.to_owned(),
        })
    }

    /// A text in which `{param:..}` is the only placeholder.
    pub(super) fn text(&mut self, field: &str, text: &str) -> Result<String, CompileError> {
        let mut resolved = String::new();
        for token in tokens(field, text)? {
            resolved.push_str(match token {
                Token::Text(text) => text,
                Token::Placeholder {
                    name: "param",
                    argument: Some(name),
                } => self.get(field, name)?,
                Token::Placeholder { name, .. } => {
                    return Err(CompileError::invalid(
                        field,
                        format!("`{{{name}}}` cannot stand here, only `{{param:name}}`"),
                    ));
                }
            });
        }
        Ok(resolved)
    }

    /// Refuses parameters of the source that nothing asked for: most likely misspelt.
    pub(super) fn finish(self) -> Result<(), CompileError> {
        match self.source.keys().find(|name| !self.used.contains(*name)) {
            Some(name) => Err(CompileError::UnknownParam { name: name.clone() }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unbalanced_braces_are_refused() {
        for text in ["{", "}", "a}b", "{a", "{a{b}}", "{a}}", "}{a}"] {
            assert!(tokens("signed", text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_parameter_value_is_never_read_as_a_placeholder() {
        let (preset, source) = (
            BTreeMap::new(),
            BTreeMap::from([("a".to_owned(), ParamSpec::Text("{param:b}".to_owned()))]),
        );
        let mut params = Params::new(&preset, &source);
        assert_eq!(params.text("f", "x{param:a}y").unwrap(), "x{param:b}y");
        assert!(params.text("f", "{body}").is_err());
        assert!(params.text("f", "{param}").is_err());
        assert!(params.finish().is_ok());
    }
}
