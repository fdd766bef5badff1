//! What elements learn of all elements of the build: `IMAGE_ELEMENT`, `IMAGE_ELEMENT_YAML` and the function `get_image_element_array`,
//! as text that bash evaluates. Called by the command `element-info` and, for hooks, by the engine. Facts: compat/CONTRACT.md section 2.6.

use dibw_plan::element::paths_yaml;
use dibw_plan::{Catalogue, Element};

use crate::shell_words::quote;

/// The two variables and the function, exported. Unlike diskimage-builder's, paths with spaces and quotes survive.
pub fn bash(names: &[String], catalogue: &Catalogue) -> String {
    let elements: Vec<&Element> = names.iter().filter_map(|name| catalogue.elements.get(name)).collect();
    let paths = elements.iter().map(|element| (element.name.as_str(), element.path.as_str()));
    format!(
        "export IMAGE_ELEMENT={}\nexport IMAGE_ELEMENT_YAML={}\nfunction get_image_element_array {{\n  {}\n}};\n\
         export -f get_image_element_array;\n",
        always_quoted(&names.join(" ")),
        always_quoted(&paths_yaml(elements.iter().copied())),
        array_body(paths),
    )
}

/// The body of `get_image_element_array`: prints `[name]=path` for each element, as bash reads it in `declare -A elements=(...)`.
pub fn array_body<'a>(elements: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let array: String = elements.map(|(name, path)| format!("[{}]={} ", quote(name), quote(path))).collect();
    format!("printf '%s\\n' {}", always_quoted(&array))
}

fn always_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r#"'"'"'"#))
}
