//! What a plain scalar means: the YAML 1.1 types of PyYAML's safe loader. Knows nothing of documents. Called by `yaml::build`.
//! Source: <https://yaml.org/type/> and PyYAML 6's resolver. Dates stay text: nothing here has a use for them.

/// The meaning of a scalar.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// `~`, `null` or nothing.
    Null,
    /// `yes no true false on off`.
    Bool(bool),
    /// Decimal, `0` octal, `0x`, `0b`, underscores, base 60.
    Integer(i128),
    /// With a point; an exponent has a sign.
    Float(f64),
    /// All else.
    Text,
}

impl Data {
    /// The meaning of a scalar without quotes or tag.
    pub(super) fn of_plain(raw: &str) -> Self {
        match raw {
            "" | "~" | "null" | "Null" | "NULL" => Self::Null,
            "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Self::Bool(true),
            "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Self::Bool(false),
            _ => {
                integer(raw).map(Self::Integer).or_else(|| float(raw).map(Self::Float)).unwrap_or(Self::Text)
            }
        }
    }

    /// In a word, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a number",
            Self::Text => "a string",
        }
    }

    /// As JSON. `raw` is the text of the scalar.
    pub(super) fn to_json(&self, raw: &str) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Bool(value) => (*value).into(),
            Self::Integer(value) => i64::try_from(*value).map_or_else(|_| raw.into(), Into::into),
            Self::Float(value) => {
                serde_json::Number::from_f64(*value).map_or_else(|| raw.into(), serde_json::Value::Number)
            }
            Self::Text => raw.into(),
        }
    }
}

fn split_sign(raw: &str) -> (i8, &str) {
    match raw.as_bytes().first() {
        Some(b'-') => (-1, &raw[1..]),
        Some(b'+') => (1, &raw[1..]),
        _ => (1, raw),
    }
}

/// An integer, or `None` when the text is none (or does not fit 128 bits, which then is text).
fn integer(raw: &str) -> Option<i128> {
    let (sign, body) = split_sign(raw);
    let magnitude = if let Some(digits) = body.strip_prefix("0b") {
        radix(digits, 2)?
    } else if let Some(digits) = body.strip_prefix("0x") {
        radix(digits, 16)?
    } else if body == "0" {
        0
    } else if let Some(digits) = body.strip_prefix('0') {
        // A zero before digits means octal; `0_` is zero.
        if digits.bytes().all(|byte| byte == b'_') { 0 } else { radix(digits, 8)? }
    } else if !body.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    } else if let Some((first, rest)) = body.split_once(':') {
        let mut value = radix(first, 10)?;
        for part in rest.split(':') {
            value = value.checked_mul(60)?.checked_add(base60_digit(part)?)?;
        }
        value
    } else {
        radix(body, 10)?
    };
    Some(i128::from(sign) * magnitude)
}

fn radix(digits: &str, base: u32) -> Option<i128> {
    let kept: String = digits.chars().filter(|digit| *digit != '_').collect();
    if kept.is_empty() || !kept.chars().all(|digit| digit.is_digit(base)) {
        return None;
    }
    i128::from_str_radix(&kept, base).ok()
}

/// `[0-5]?[0-9]`.
fn base60_digit(part: &str) -> Option<i128> {
    let well_formed = matches!(part.as_bytes(), [b'0'..=b'9'] | [b'0'..=b'5', b'0'..=b'9']);
    if well_formed { part.parse().ok() } else { None }
}

/// A number with a point. Without one, or with an exponent that has no sign, it is text.
fn float(raw: &str) -> Option<f64> {
    let (sign, body) = split_sign(raw);
    let sign = f64::from(sign);
    if matches!(body, ".inf" | ".Inf" | ".INF") {
        return Some(sign * f64::INFINITY);
    }
    if matches!(raw, ".nan" | ".NaN" | ".NAN") {
        return Some(f64::NAN);
    }
    let (before, after) = body.split_once('.')?;
    if before.is_empty() {
        // `.5`, without sign.
        let (fraction, exponent) = split_exponent(after)?;
        let well_formed = body.len() == raw.len()
            && fraction.starts_with(|first: char| first.is_ascii_digit())
            && digits_or_underscores(fraction);
        return if well_formed { number(&format!("0.{fraction}{exponent}")) } else { None };
    }
    if !before.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    if let Some((first, rest)) = before.split_once(':') {
        if !digits_or_underscores(first) || !digits_or_underscores(after) {
            return None;
        }
        let mut value = number(first)?;
        for part in rest.split(':') {
            value = value.mul_add(60.0, base60_digit(part)? as f64);
        }
        return Some(sign * (value + number(&format!("0.{after}0"))?));
    }
    let (fraction, exponent) = split_exponent(after)?;
    if !digits_or_underscores(before) || !digits_or_underscores(fraction) {
        return None;
    }
    number(&format!("{before}.{fraction}0{exponent}")).map(|value| sign * value)
}

/// Fraction and exponent (`e+3`), which must have a sign and digits.
fn split_exponent(after: &str) -> Option<(&str, &str)> {
    let Some(at) = after.find(['e', 'E']) else { return Some((after, "")) };
    let (fraction, exponent) = after.split_at(at);
    let digits = exponent[1..].strip_prefix(['+', '-'])?;
    let well_formed = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    well_formed.then_some((fraction, exponent))
}

fn digits_or_underscores(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_')
}

fn number(text: &str) -> Option<f64> {
    text.replace('_', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_mean_what_pyyaml_says() {
        let cases = [
            ("1:30", Data::Integer(90)),
            ("0700", Data::Integer(448)),
            ("8E00", Data::Text),
            ("1_000", Data::Integer(1000)),
            ("0x1f", Data::Integer(31)),
            ("08", Data::Text),
            ("1e3", Data::Text),
            ("1.5e+3", Data::Float(1500.0)),
            ("1.", Data::Float(1.0)),
            (".5", Data::Float(0.5)),
            ("._5", Data::Text),
            ("-.inf", Data::Float(f64::NEG_INFINITY)),
            ("0o7", Data::Text),
            ("+1", Data::Integer(1)),
            ("190:20:30", Data::Integer(685_230)),
            ("190:20:30.15", Data::Float(685_230.15)),
            ("190:60", Data::Text),
            ("y", Data::Text),
            ("Yes", Data::Bool(true)),
            ("nO", Data::Text),
            ("off", Data::Bool(false)),
            ("~", Data::Null),
            ("", Data::Null),
            ("0b11", Data::Integer(3)),
            ("-0", Data::Integer(0)),
            ("0_", Data::Integer(0)),
            ("1__", Data::Integer(1)),
            ("00", Data::Integer(0)),
            ("010:30", Data::Text),
            (".", Data::Text),
            ("-1.", Data::Float(-1.0)),
            ("+.5", Data::Text),
            ("1e+3", Data::Text),
            ("2024-01-01", Data::Text),
            ("1.2.3", Data::Text),
            ("-", Data::Text),
            ("12.04", Data::Float(12.04)),
            ("100%", Data::Text),
        ];
        for (raw, expected) in cases {
            assert_eq!(Data::of_plain(raw), expected, "{raw}");
        }
    }
}
