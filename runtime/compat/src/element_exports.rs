//! What elements learn of all elements of the build: `IMAGE_ELEMENT`, `IMAGE_ELEMENT_YAML` and the function `get_image_element_array`,
//! as text that bash evaluates. Called by the command `element-info`. Facts: compat/CONTRACT.md section 2.6.

use dibw_plan::{Catalogue, Element};
use dibw_policy::yaml;

use crate::shell_words::quote;

/// The two variables and the function, exported. Unlike diskimage-builder's, paths with spaces and quotes survive.
pub fn bash(names: &[String], catalogue: &Catalogue) -> String {
    let mut elements: Vec<&Element> = names.iter().filter_map(|name| catalogue.elements.get(name)).collect();
    let array: String = elements.iter().map(|element| pair(element)).collect();
    elements.sort_by(|left, right| left.name.cmp(&right.name));
    let yaml: String = elements
        .iter()
        .map(|element| format!("{}: {}\n", yaml_text(&element.name), yaml_text(&element.path)))
        .collect();
    format!(
        "export IMAGE_ELEMENT={}\nexport IMAGE_ELEMENT_YAML={}\nfunction get_image_element_array {{\n  \
         printf '%s\\n' {}\n}};\nexport -f get_image_element_array;\n",
        always_quoted(&names.join(" ")),
        always_quoted(&yaml),
        always_quoted(&array),
    )
}

/// One member of the associative array, as bash reads it in `declare -A elements=(...)`.
fn pair(element: &Element) -> String {
    format!("[{}]={} ", quote(&element.name), quote(&element.path))
}

fn always_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r#"'"'"'"#))
}

/// A string in YAML: plain where it reads back as the same string, else in double quotes as JSON has it.
fn yaml_text(text: &str) -> String {
    let plain = yaml::load(&format!("{text}: {text}\n")).ok().is_some_and(|document| {
        let entries = document.as_mapping().unwrap_or_default();
        matches!(entries, [entry] if entry.key == text && entry.value.as_str() == Some(text))
    });
    if plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}
