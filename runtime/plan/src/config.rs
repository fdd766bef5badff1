//! The configuration of a typed element: its schema's defaults, classic variables (`x-env`) and the user's settings, merged and
//! validated. The schema is the subset of JSON Schema that the SDK's `#[derive(Config)]` writes. Called by the planner.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value};

use crate::fault::{Fault, FaultKind, Faults};

/// The configuration of `element`: defaults < variables < settings. A variable that is empty counts as not set.
///
/// # Errors
/// Every unknown key, value of a wrong type or not among the allowed ones, and missing key, each named `element.key`.
pub fn merge(
    element: &str,
    schema: &Value,
    settings: &BTreeMap<String, Value>,
    variables: &BTreeMap<String, String>,
) -> Result<Value, Faults> {
    let given: Map<String, Value> = settings.clone().into_iter().collect();
    let from_variable = |schema: &Value| {
        let name = schema.get("x-env")?.as_str()?;
        let text = variables.get(name).filter(|text| !text.is_empty())?;
        Some((name.to_owned(), Value::String(text.clone())))
    };
    let mut faults = Faults::default();
    let merged = object(element, schema, given, &from_variable, &mut faults);
    faults.or(Value::Object(merged))
}

/// Where a property's value may come from when it is not given: the name of the variable and its text.
type FromVariable<'a> = dyn Fn(&Value) -> Option<(String, Value)> + 'a;

fn object(
    place: &str,
    schema: &Value,
    mut given: Map<String, Value>,
    from_variable: &FromVariable<'_>,
    faults: &mut Faults,
) -> Map<String, Value> {
    let none = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
    let required = schema.get("required").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut merged = Map::new();
    for (key, schema) in properties {
        let place = format!("{place}.{key}");
        let value = match given.remove(key).filter(|value| !value.is_null()) {
            Some(value) => checked(&place, schema, value, faults),
            None => match from_variable(schema) {
                Some((name, value)) => checked(&format!("{place} (from {name})"), schema, value, faults),
                None => schema.get("default").cloned(),
            },
        };
        match value {
            Some(value) => {
                merged.insert(key.clone(), value);
            }
            None if required.iter().any(|name| name == key) && !named_already(&place, faults) => {
                let fault = Fault::new(FaultKind::Config, format!("{place} is not set, and has no default"));
                faults.push(fault.hint(format!("add --set {place}={}", example(schema))));
            }
            None => {}
        }
    }
    let open = schema.get("additionalProperties").is_some_and(|more| *more != Value::Bool(false));
    for (key, value) in given {
        if open {
            merged.insert(key, value);
        } else {
            faults.push(unknown_key(place, &key, properties));
        }
    }
    merged
}

/// Whether a fault about that setting has been found: its value is missing because it was wrong.
fn named_already(place: &str, faults: &Faults) -> bool {
    faults.0.iter().any(|fault| {
        fault.message.strip_prefix(place).is_some_and(|rest| rest.starts_with([' ', ':', '[', '.']))
    })
}

fn unknown_key(place: &str, key: &str, properties: &Map<String, Value>) -> Fault {
    let element = place.split('.').next().unwrap_or(place);
    let fault = Fault::new(FaultKind::Config, format!("unknown setting {place}.{key}"));
    let fault = match properties.is_empty() {
        true => fault.hint(format!("`{element}` has no settings")),
        false => {
            let known: Vec<&str> = properties.keys().map(String::as_str).collect();
            fault.hint(format!("settings of `{place}`: {}", known.join(", ")))
        }
    };
    fault.suggest(key, properties.keys().map(String::as_str))
}

/// The value as the schema wants it: a text is read as the type that is asked for, because variables and `--set` give texts.
fn checked(place: &str, schema: &Value, value: Value, faults: &mut Faults) -> Option<Value> {
    let allowed = schema.get("enum").and_then(Value::as_array);
    let kinds = kinds(schema);
    let shown = value.to_string();
    let converted = match (&value, allowed) {
        // YAML reads a bare `no` as a boolean; where a text is wanted, the word is meant.
        (Value::Bool(truth), Some(allowed)) if kinds.contains(&"string") => {
            let words: &[&str] = if *truth { &["yes", "true", "on"] } else { &["no", "false", "off"] };
            words.iter().find(|word| allowed.iter().any(|one| one == *word)).map(|word| (*word).into())
        }
        _ => kinds.iter().find_map(|kind| converted(kind, &value)),
    };
    let Some(converted) = converted else {
        let wanted = match allowed {
            Some(allowed) => format!("one of {}", listed(allowed)),
            None => kinds.iter().map(|kind| article(kind)).collect::<Vec<_>>().join(" or "),
        };
        faults.push(Fault::new(FaultKind::Config, format!("{place}: {wanted} is expected, not {shown}")));
        return None;
    };
    if let Some(allowed) = allowed
        && !allowed.contains(&converted)
    {
        let fault =
            Fault::new(FaultKind::Config, format!("{place}: {shown} is not one of {}", listed(allowed)));
        let text = converted.as_str().unwrap_or_default();
        faults.push(fault.suggest(text, allowed.iter().filter_map(Value::as_str)));
        return None;
    }
    if let Some(message) = out_of_bounds(schema, &converted) {
        faults.push(Fault::new(FaultKind::Config, format!("{place}: {message}, not {shown}")));
        return None;
    }
    let before = faults.0.len();
    let value = match (converted, schema.get("items")) {
        (Value::Array(items), Some(schema)) => {
            let items = items.into_iter().enumerate();
            Value::Array(
                items
                    .filter_map(|(index, item)| checked(&format!("{place}[{index}]"), schema, item, faults))
                    .collect(),
            )
        }
        (Value::Object(map), _) if schema.get("properties").is_some() => {
            Value::Object(object(place, schema, map, &|_| None, faults))
        }
        (value, _) => value,
    };
    (faults.0.len() == before).then_some(value)
}

/// The types a schema allows; none given means any.
fn kinds(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(kind)) => vec![kind],
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => vec!["any"],
    }
}

fn converted(kind: &str, value: &Value) -> Option<Value> {
    match (kind, value) {
        ("any", value)
        | ("string", value @ Value::String(_))
        | ("boolean", value @ Value::Bool(_))
        | ("number", value @ Value::Number(_))
        | ("array", value @ Value::Array(_))
        | ("null", value @ Value::Null)
        | ("object", value @ Value::Object(_)) => Some(value.clone()),
        ("string", Value::Number(number)) => Some(number.to_string().into()),
        ("integer", Value::Number(number)) => (number.is_i64() || number.is_u64()).then(|| value.clone()),
        ("integer", Value::String(text)) => text.trim().parse::<i64>().ok().map(Value::from),
        ("number", Value::String(text)) => {
            text.trim().parse::<f64>().ok().and_then(Number::from_f64).map(Value::Number)
        }
        ("boolean", Value::String(text)) => truth(text).map(Value::Bool),
        ("boolean", Value::Number(number)) => match number.as_u64() {
            Some(0) => Some(false.into()),
            Some(1) => Some(true.into()),
            _ => None,
        },
        ("array", Value::String(text)) if text.trim_start().starts_with('[') => {
            serde_json::from_str(text).ok()
        }
        ("array", Value::String(text)) => {
            Some(text.split([',', ' ', '\n']).filter(|item| !item.is_empty()).collect())
        }
        ("object", Value::String(text)) => serde_json::from_str(text).ok().filter(Value::is_object),
        _ => None,
    }
}

fn truth(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Some(true),
        "0" | "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

fn out_of_bounds(schema: &Value, value: &Value) -> Option<String> {
    let number = value.as_f64()?;
    let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
    if let Some(minimum) = bound("minimum").filter(|minimum| number < *minimum) {
        return Some(format!("at least {minimum} is expected"));
    }
    bound("maximum")
        .filter(|maximum| number > *maximum)
        .map(|maximum| format!("at most {maximum} is expected"))
}

fn article(kind: &str) -> &'static str {
    match kind {
        "string" => "a text",
        "integer" => "an integer",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "a map",
        "null" => "nothing",
        _ => "a value",
    }
}

fn listed(values: &[Value]) -> String {
    let texts: Vec<String> =
        values.iter().map(|value| value.as_str().map_or(value.to_string(), str::to_owned)).collect();
    texts.join(", ")
}

fn example(schema: &Value) -> String {
    match schema.get("enum").and_then(Value::as_array).and_then(|values| values.first()) {
        Some(value) => value.as_str().map_or(value.to_string(), str::to_owned),
        None => "VALUE".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Value {
        json!({
            "type": "object", "additionalProperties": false, "required": ["name"],
            "properties": {
                "name": {"type": "string"},
                "permit-root-login": {"type": "string", "enum": ["yes", "no"], "default": "no", "x-env": "DIB_PERMIT"},
                "port": {"type": "integer", "default": 22, "minimum": 1, "maximum": 65535, "x-env": "DIB_PORT"},
                "banner": {"type": "boolean"},
                "keys": {"type": "array", "items": {"type": "string"}, "x-env": "DIB_KEYS"},
                "nested": {"type": "array", "items": {
                    "type": "object", "required": ["login"], "additionalProperties": false,
                    "properties": {"login": {"type": "string"}, "sudo": {"type": "boolean", "default": false}}
                }}
            }
        })
    }

    fn merged(settings: Value, variables: &[(&str, &str)]) -> Result<Value, Vec<String>> {
        let settings = settings.as_object().unwrap().clone().into_iter().collect();
        let variables =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        merge("ssh", &schema(), &settings, &variables)
            .map_err(|faults| faults.0.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn settings_win_over_variables_over_defaults() {
        for (settings, variables, expected) in [
            (json!({"name": "a"}), vec![], json!({"name": "a", "permit-root-login": "no", "port": 22})),
            (
                json!({"name": "a"}),
                vec![("DIB_PORT", "2222"), ("DIB_PERMIT", ""), ("DIB_KEYS", "a b,c")],
                json!({"name": "a", "permit-root-login": "no", "port": 2222, "keys": ["a", "b", "c"]}),
            ),
            (
                json!({"name": 7, "port": "23", "banner": "yes", "permit-root-login": true}),
                vec![("DIB_PORT", "2222")],
                json!({"name": "7", "permit-root-login": "yes", "port": 23, "banner": true}),
            ),
            (
                json!({"name": "a", "nested": [{"login": "x"}]}),
                vec![],
                json!({"name": "a", "permit-root-login": "no", "port": 22, "nested": [{"login": "x", "sudo": false}]}),
            ),
        ] {
            assert_eq!(merged(settings, &variables).unwrap(), expected);
        }
    }

    #[test]
    fn every_mistake_is_named_element_dot_key() {
        for (settings, variables, expected) in [
            (
                json!({}),
                vec![],
                vec!["ssh.name is not set, and has no default\n  hint: add --set ssh.name=VALUE"],
            ),
            (
                json!({"name": "a", "prot": 1, "port": "x"}),
                vec![],
                vec![
                    "ssh.port: an integer is expected, not \"x\"",
                    "unknown setting ssh.prot\n  hint: did you mean `port`?",
                ],
            ),
            (
                json!({"name": "a", "permit-root-login": "yse"}),
                vec![("DIB_PORT", "70000")],
                vec![
                    "ssh.permit-root-login: \"yse\" is not one of yes, no\n  hint: did you mean `yes`?",
                    "ssh.port (from DIB_PORT): at most 65535 is expected, not \"70000\"",
                ],
            ),
            (
                json!({"name": "a", "nested": [{"sudo": "maybe"}]}),
                vec![],
                vec![
                    "ssh.nested[0].login is not set, and has no default\n  hint: add --set ssh.nested[0].login=VALUE",
                    "ssh.nested[0].sudo: true or false is expected, not \"maybe\"",
                ],
            ),
        ] {
            assert_eq!(merged(settings, &variables).unwrap_err(), expected);
        }
    }
}
