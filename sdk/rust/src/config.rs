//! Typed configuration: what a value of the user's configuration may be, read from JSON, with a schema made by the compiler.
//! `#[derive(Config)]` and `#[derive(ConfigValue)]` write the implementations; elements seldom call anything here.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::text::Text;

/// A value that configuration can hold: a string, number, bool, list, map, choice or nested object.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a value of an element's configuration",
    note = "use String, bool, an integer, Scalar, Option, Vec, BTreeMap<String, _>, an enum with #[derive(ConfigValue)] or a struct with #[derive(ConfigValue)]"
)]
pub trait ConfigValue: Sized {
    /// The JSON schema of the value.
    const SCHEMA: Text;

    /// What a default may be.
    #[doc(hidden)]
    const KIND: Kind;

    /// Whether the value may be left out.
    #[doc(hidden)]
    const OPTIONAL: bool = false;

    /// From the user's value.
    ///
    /// # Errors
    /// `Invalid`, naming the key and what would fit.
    fn from_json(value: &Value, place: &Place<'_>) -> Result<Self>;

    /// The value of a key that was left out; none when it must be given.
    #[doc(hidden)]
    fn absent() -> Option<Self> {
        None
    }
}

/// An element's whole configuration. Written by `#[derive(Config)]`.
#[diagnostic::on_unimplemented(
    message = "`#[derive(Config)]` is missing above `struct {Self}`",
    note = "an element's configuration is its own struct; `struct {Self};` is one without settings"
)]
pub trait Config: ConfigValue {
    /// The first paragraph of the struct's doc comment, for `dibw element list`.
    const SUMMARY: &'static str;
}

/// Reads a whole configuration; empty text is an empty object.
///
/// # Errors
/// `Invalid` when it is not a JSON object or does not fit `T`.
pub fn parse<T: ConfigValue>(text: &str) -> Result<T> {
    let text = if text.trim().is_empty() { "{}" } else { text };
    let value: Value = serde_json::from_str(text)
        .map_err(|error| Error::Invalid(format!("configuration is not JSON: {error}")))?;
    T::from_json(&value, &Place::Top)
}

/// Where in the configuration a value stands.
#[derive(Debug)]
pub enum Place<'a> {
    /// The configuration itself.
    Top,
    /// A key of an object.
    Key(&'a Place<'a>, &'a str),
    /// An item of a list.
    Item(&'a Place<'a>, usize),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Top => out.write_str("configuration"),
            Place::Key(Place::Top, key) => out.write_str(key),
            Place::Key(outer, key) => write!(out, "{outer}.{key}"),
            Place::Item(outer, index) => write!(out, "{outer}[{index}]"),
        }
    }
}

/// "`key`: expected `what`, found `value`".
#[doc(hidden)]
pub fn invalid<T>(place: &Place<'_>, expected: &str, found: &Value) -> Result<T> {
    Err(Error::Invalid(format!("{place}: expected {expected}, found {found}")))
}

/// The object's members, after refusing keys that are not in `keys`. `keys` are in kebab-case; snake_case is taken too.
#[doc(hidden)]
pub fn object<'a>(
    value: &'a Value,
    place: &Place<'_>,
    keys: &[&'static str],
) -> Result<BTreeMap<&'static str, &'a Value>> {
    let Value::Object(members) = value else { return invalid(place, "an object", value) };
    let mut known = BTreeMap::new();
    for (given, value) in members {
        let Some(key) = keys.iter().find(|key| same_key(key, given)) else {
            return unknown_key(given, place, keys);
        };
        if known.insert(*key, value).is_some() {
            return Err(Error::Invalid(format!("{place}: `{key}` is given twice")));
        }
    }
    Ok(known)
}

fn same_key(key: &str, given: &str) -> bool {
    key.len() == given.len()
        && key.bytes().zip(given.bytes()).all(|(key, given)| key == given || (key, given) == (b'-', b'_'))
}

fn unknown_key<T>(given: &str, place: &Place<'_>, keys: &[&str]) -> Result<T> {
    let place = match place {
        Place::Top => String::new(),
        inner => format!("{inner}: "),
    };
    let expected = keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
    Err(Error::Invalid(match keys.iter().min_by_key(|key| distance(key, given)) {
        None => format!("{place}unknown key `{given}`; there are no settings"),
        Some(near) if distance(near, given) <= 1 + given.len() / 3 => {
            format!("{place}unknown key `{given}`; did you mean `{near}`? expected {expected}")
        }
        Some(_) => format!("{place}unknown key `{given}`; expected {expected}"),
    }))
}

/// Levenshtein's distance in bytes.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (above, left) in left.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = above + 1;
        for (column, right) in right.bytes().enumerate() {
            let replaced = diagonal + usize::from(left != right);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

/// The value of a key that was left out, or the error that it must be given.
#[doc(hidden)]
pub fn absent_or_required<T: ConfigValue>(place: &Place<'_>) -> Result<T> {
    T::absent().ok_or_else(|| Error::Invalid(format!("{place}: must be given")))
}

/// One of `words`, for an enum.
#[doc(hidden)]
pub fn word(value: &Value, place: &Place<'_>, words: &[&str]) -> Result<usize> {
    let found = value.as_str().and_then(|text| words.iter().position(|word| *word == text));
    let expected = || words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    found.map_or_else(|| invalid(place, &format!("one of {}", expected()), value), Ok)
}

/// What the compiler checks a `default = ..` against.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub enum Kind {
    Text,
    Choice(&'static [&'static str]),
    Integer,
    Bool,
    Scalar,
    Composite,
}

impl Kind {
    /// Whether `"text"` may be the default.
    pub const fn takes_text(self, text: &str) -> bool {
        match self {
            Self::Text | Self::Scalar => true,
            Self::Choice(words) => {
                let mut at = 0;
                while at < words.len() {
                    if equal(words[at].as_bytes(), text.as_bytes()) {
                        return true;
                    }
                    at += 1;
                }
                false
            }
            Self::Integer | Self::Bool | Self::Composite => false,
        }
    }

    /// Whether an integer may be the default.
    pub const fn takes_integer(self) -> bool {
        matches!(self, Self::Integer | Self::Scalar)
    }

    /// Whether `true` or `false` may be the default.
    pub const fn takes_bool(self) -> bool {
        matches!(self, Self::Bool | Self::Scalar)
    }
}

const fn equal(left: &[u8], right: &[u8]) -> bool {
    let mut at = 0;
    while at < left.len() && at < right.len() && left[at] == right[at] {
        at += 1;
    }
    at == left.len() && at == right.len()
}

impl ConfigValue for String {
    const SCHEMA: Text = Text::of(r#"{"type":"string"}"#);
    const KIND: Kind = Kind::Text;

    fn from_json(value: &Value, place: &Place<'_>) -> Result<Self> {
        value.as_str().map_or_else(|| invalid(place, "a string", value), |text| Ok(text.to_owned()))
    }
}

impl ConfigValue for bool {
    const SCHEMA: Text = Text::of(r#"{"type":"boolean"}"#);
    const KIND: Kind = Kind::Bool;

    fn from_json(value: &Value, place: &Place<'_>) -> Result<Self> {
        value.as_bool().map_or_else(|| invalid(place, "true or false", value), Ok)
    }
}

macro_rules! integer {
    ($($integer:ty),*) => {
        $(impl ConfigValue for $integer {
            const SCHEMA: Text = Text::of(r#"{"type":"integer"}"#);
            const KIND: Kind = Kind::Integer;

            fn from_json(value: &Value, place: &Place<'_>) -> Result<Self> {
                let wide = value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from));
                wide.and_then(|wide| Self::try_from(wide).ok()).map_or_else(
                    || invalid(place, &format!("a whole number from {} to {}", Self::MIN, Self::MAX), value),
                    Ok,
                )
            }
        })*
    };
}

integer!(u8, u16, u32, u64, i8, i16, i32, i64);

impl<T: ConfigValue> ConfigValue for Option<T> {
    const SCHEMA: Text = T::SCHEMA;
    const KIND: Kind = T::KIND;
    const OPTIONAL: bool = true;

    fn from_json(value: &Value, place: &Place<'_>) -> Result<Self> {
        if value.is_null() { Ok(None) } else { T::from_json(value, place).map(Some) }
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<T: ConfigValue> ConfigValue for Vec<T> {
    const SCHEMA: Text = Text::of(r#"{"type":"array","items":"#).joined(&T::SCHEMA).text("}");
    const KIND: Kind = Kind::Composite;
    const OPTIONAL: bool = true;

    fn from_json(value: &Value, place: &Place<'_>) -> Result<Self> {
        let Value::Array(items) = value else { return invalid(place, "a list", value) };
        items.iter().enumerate().map(|(index, item)| T::from_json(item, &Place::Item(place, index))).collect()
    }

    fn absent() -> Option<Self> {
        Some(Self::new())
    }
}

impl<T: ConfigValue> ConfigValue for BTreeMap<String, T> {
    const SCHEMA: Text = Text::of(r#"{"type":"object","additionalProperties":"#).joined(&T::SCHEMA).text("}");
    const KIND: Kind = Kind::Composite;
    const OPTIONAL: bool = true;

    fn from_json(value: &Value, place: &Place<'_>) -> Result<Self> {
        let Value::Object(members) = value else { return invalid(place, "an object", value) };
        let read = |(key, value): (&String, &Value)| {
            Ok((key.clone(), T::from_json(value, &Place::Key(place, key))?))
        };
        Map::iter(members).map(read).collect()
    }

    fn absent() -> Option<Self> {
        Some(Self::new())
    }
}

/// A string, whole number or bool, kept as the text that a configuration file would hold (a bool is `1` or `0`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scalar(pub String);

impl fmt::Display for Scalar {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl ConfigValue for Scalar {
    const SCHEMA: Text = Text::of(r#"{"type":["string","integer","boolean"]}"#);
    const KIND: Kind = Kind::Scalar;

    fn from_json(value: &Value, place: &Place<'_>) -> Result<Self> {
        match value {
            Value::String(text) => Ok(Self(text.clone())),
            Value::Bool(flag) => Ok(Self(u8::from(*flag).to_string())),
            Value::Number(number) if number.is_i64() || number.is_u64() => Ok(Self(number.to_string())),
            other => invalid(place, "a string, a whole number or a bool", other),
        }
    }
}
