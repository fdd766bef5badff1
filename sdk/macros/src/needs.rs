//! `needs!`: words and values, checked by dibw-policy's own parser while the element compiles.

use dibw_policy::need::MACRO_WORDS;
use dibw_policy::{Capability, Need};
use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::{Ident, LitStr, Result, Token};

/// Words that are friendlier than, and mean the same as, one of the policy's.
const ALIASES: [(&str, &str); 3] = [("group", "user"), ("variable", "env"), ("set_variable", "set_env")];

/// The needs in the order written.
pub struct Needs(Vec<(Capability, String)>);

impl Parse for Needs {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut needs = Vec::new();
        while !input.is_empty() {
            let word: Ident = input.parse()?;
            let capability = capability(&word)?;
            loop {
                needs.push((capability, value(input, &word, capability)?));
                if !input.peek(Token![,]) {
                    break;
                }
                input.parse::<Token![,]>()?;
            }
            if !input.is_empty() {
                input.parse::<Token![;]>()?;
            }
        }
        Ok(Self(needs))
    }
}

impl Needs {
    /// A constant slice of `Need`.
    pub fn expand(self) -> TokenStream {
        let needs = self.0.iter().map(|(capability, value)| {
            let capability = capability.name();
            quote!(::dibw_sdk::Need { capability: #capability, value: #value })
        });
        quote!(&[#(#needs),*])
    }
}

fn capability(word: &Ident) -> Result<Capability> {
    let text = word.to_string();
    let name = ALIASES.iter().find(|(alias, _)| *alias == text).map_or(text.as_str(), |(_, name)| name);
    MACRO_WORDS.iter().find(|(known, _)| *known == name).map(|(_, capability)| *capability).ok_or_else(|| {
        let words = words().collect::<Vec<_>>();
        syn::Error::new(word.span(), format!("`{text}` is not a need; needs are {}", words.join(", ")))
    })
}

fn words() -> impl Iterator<Item = &'static str> {
    MACRO_WORDS.iter().map(|(word, _)| *word).chain(ALIASES.iter().map(|(alias, _)| *alias))
}

/// A string, or a bare word where the value is one: `privileged sudoers`.
fn value(input: ParseStream<'_>, word: &Ident, capability: Capability) -> Result<String> {
    let (text, span) = if input.peek(LitStr) {
        let literal: LitStr = input.parse()?;
        (literal.value(), literal.span())
    } else if input.peek(Ident) {
        let bare: Ident = input.parse()?;
        (bare.to_string(), bare.span())
    } else {
        return Err(input.error(format!("`{word}` takes a string: {word} \"...\";")));
    };
    let text = if capability == Capability::ServiceSet { format!("{word} {text}") } else { text };
    Need::new(capability, &text).map_err(|wrong| syn::Error::new(span, wrong))?;
    Ok(text)
}
