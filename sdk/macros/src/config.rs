//! `#[derive(Config)]` and `#[derive(ConfigValue)]`: the reader and the schema of a struct or an enum.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{
    Attribute, Data, DeriveInput, Expr, ExprLit, Fields, Ident, Lit, LitStr, Meta, Result, Type,
    spanned::Spanned,
};

/// `ConfigValue` and `Config` for a struct.
pub fn configuration(input: &DeriveInput) -> Result<TokenStream> {
    let value = structure(input)?;
    let name = &input.ident;
    let summary = description(&input.attrs);
    let summary = summary.split("\n\n").next().unwrap_or_default().replace('\n', " ");
    Ok(quote! {
        #value

        impl ::dibw_sdk::Config for #name {
            const SUMMARY: &'static str = #summary;
        }
    })
}

/// `ConfigValue` for a struct or an enum.
pub fn value(input: &DeriveInput) -> Result<TokenStream> {
    match &input.data {
        Data::Enum(choices) => choice(input, choices),
        Data::Struct(_) | Data::Union(_) => structure(input),
    }
}

/// One field of a struct.
struct Field<'a> {
    ident: &'a Ident,
    value: &'a Type,
    key: String,
    description: String,
    default: Option<Lit>,
    env: Option<LitStr>,
}

fn structure(input: &DeriveInput) -> Result<TokenStream> {
    let fields = fields(input)?;
    let name = &input.ident;
    let keys: Vec<_> = fields.iter().map(|field| &field.key).collect();
    let checks = fields.iter().filter_map(default_check);
    let properties = fields.iter().enumerate().map(|(index, field)| property(index, field));
    let required = fields.iter().filter(|field| field.default.is_none()).map(|field| {
        let (key, value) = (&field.key, field.value);
        quote! {
            if !<#value as ::dibw_sdk::ConfigValue>::OPTIONAL {
                schema = if first { schema.text(",\"required\":[") } else { schema.text(",") };
                schema = schema.quoted(#key);
                first = false;
            }
        }
    });
    let values = fields.iter().map(read);
    Ok(quote! {
        #(#checks)*

        impl ::dibw_sdk::ConfigValue for #name {
            const KIND: ::dibw_sdk::private::Kind = ::dibw_sdk::private::Kind::Composite;
            const SCHEMA: ::dibw_sdk::private::Text = {
                let mut schema = ::dibw_sdk::private::Text::of("{\"type\":\"object\",\"properties\":{");
                #(#properties)*
                schema = schema.text("}");
                #[allow(unused_mut, unused_assignments, reason = "not every configuration has required keys")]
                let mut first = true;
                #(#required)*
                if !first { schema = schema.text("]"); }
                schema.text(",\"additionalProperties\":false}")
            };

            fn from_json(value: &::dibw_sdk::private::Value, place: &::dibw_sdk::private::Place<'_>) -> ::dibw_sdk::Result<Self> {
                #[allow(unused_variables, reason = "a configuration may have no keys")]
                let known = ::dibw_sdk::private::object(value, place, &[#(#keys),*])?;
                ::core::result::Result::Ok(Self { #(#values),* })
            }
        }
    })
}

fn fields(input: &DeriveInput) -> Result<Vec<Field<'_>>> {
    let Data::Struct(data) = &input.data else {
        return Err(syn::Error::new_spanned(&input.ident, "an element's configuration is a struct"));
    };
    if !input.generics.params.is_empty() {
        return Err(syn::Error::new_spanned(&input.generics, "configuration takes no type parameters"));
    }
    match &data.fields {
        Fields::Unit => Ok(Vec::new()),
        Fields::Unnamed(unnamed) => Err(syn::Error::new_spanned(unnamed, "configuration needs named fields")),
        Fields::Named(named) => named.named.iter().map(field).collect(),
    }
}

fn field(field: &syn::Field) -> Result<Field<'_>> {
    let ident = field
        .ident
        .as_ref()
        .ok_or_else(|| syn::Error::new_spanned(field, "configuration needs named fields"))?;
    let options = options(&field.attrs)?;
    let key = options.name.unwrap_or_else(|| ident.to_string().trim_start_matches("r#").replace('_', "-"));
    let description = description(&field.attrs).replace('\n', " ");
    Ok(Field { ident, value: &field.ty, key, description, default: options.default, env: options.env })
}

/// A default that the type cannot hold does not compile.
fn default_check(field: &Field<'_>) -> Option<TokenStream> {
    let default = field.default.as_ref()?;
    let (value, key) = (field.value, &field.key);
    let fits = match default {
        Lit::Str(text) => quote!(takes_text(#text)),
        Lit::Bool(_) => quote!(takes_bool()),
        _ => quote!(takes_integer()),
    };
    let message = format!("the default of `{key}` is not one of its values");
    Some(quote!(
        const _: () = assert!(<#value as ::dibw_sdk::ConfigValue>::KIND.#fits, #message);
    ))
}

/// Adds one property to the schema.
fn property(index: usize, field: &Field<'_>) -> TokenStream {
    let (key, value, description) = (&field.key, field.value, &field.description);
    let comma = (index > 0).then(|| quote!(schema = schema.text(",");));
    let description =
        (!description.is_empty()).then(|| quote!(.text(",\"description\":").quoted(#description)));
    let default = field.default.as_ref().map(|default| match default {
        Lit::Str(text) => quote!(.text(",\"default\":").quoted(#text)),
        other => {
            let plain = quote!(#other).to_string();
            quote!(.text(",\"default\":").text(#plain))
        }
    });
    let env = field.env.as_ref().map(|env| quote!(.text(",\"x-env\":").quoted(#env)));
    quote! {
        #comma
        schema = schema.quoted(#key).text(":")
            .joined(&<#value as ::dibw_sdk::ConfigValue>::SCHEMA.opened() #description #default #env)
            .text("}");
    }
}

/// Reads one field.
fn read(field: &Field<'_>) -> TokenStream {
    let (ident, key, value) = (field.ident, &field.key, field.value);
    let absent = match &field.default {
        Some(default) => quote! {
            <#value as ::dibw_sdk::ConfigValue>::from_json(
                &::dibw_sdk::private::Value::from(#default),
                &::dibw_sdk::private::Place::Key(place, #key),
            )?
        },
        None => quote! {
            ::dibw_sdk::private::absent_or_required::<#value>(&::dibw_sdk::private::Place::Key(place, #key))?
        },
    };
    quote! {
        #ident: match known.get(#key) {
            ::core::option::Option::Some(value) => <#value as ::dibw_sdk::ConfigValue>::from_json(
                value,
                &::dibw_sdk::private::Place::Key(place, #key),
            )?,
            ::core::option::Option::None => #absent,
        }
    }
}

fn choice(input: &DeriveInput, choices: &syn::DataEnum) -> Result<TokenStream> {
    let mut words = Vec::new();
    let mut variants = Vec::new();
    for variant in &choices.variants {
        if !matches!(variant.fields, Fields::Unit) {
            return Err(syn::Error::new_spanned(&variant.fields, "a choice has variants without fields"));
        }
        words.push(options(&variant.attrs)?.name.unwrap_or_else(|| kebab(&variant.ident.to_string())));
        variants.push(&variant.ident);
    }
    let name = &input.ident;
    let indices = 0..variants.len();
    let list = words.iter().enumerate().map(|(index, word)| {
        let comma = (index > 0).then(|| quote!(.text(",")));
        quote!(#comma .quoted(#word))
    });
    Ok(quote! {
        impl #name {
            /// The word that stands for it in the configuration.
            pub const fn as_str(&self) -> &'static str {
                match self { #(Self::#variants => #words),* }
            }
        }

        impl ::core::fmt::Display for #name {
            fn fmt(&self, out: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                out.write_str(self.as_str())
            }
        }

        impl ::dibw_sdk::ConfigValue for #name {
            const KIND: ::dibw_sdk::private::Kind = ::dibw_sdk::private::Kind::Choice(&[#(#words),*]);
            const SCHEMA: ::dibw_sdk::private::Text =
                ::dibw_sdk::private::Text::of("{\"type\":\"string\",\"enum\":[") #(#list)* .text("]}");

            fn from_json(value: &::dibw_sdk::private::Value, place: &::dibw_sdk::private::Place<'_>) -> ::dibw_sdk::Result<Self> {
                match ::dibw_sdk::private::word(value, place, &[#(#words),*])? {
                    #(#indices => ::core::result::Result::Ok(Self::#variants),)*
                    _ => ::dibw_sdk::private::invalid(place, "a choice", value),
                }
            }
        }
    })
}

/// `ProhibitPassword` to `prohibit-password`.
fn kebab(name: &str) -> String {
    let mut word = String::new();
    for (index, letter) in name.chars().enumerate() {
        if letter.is_uppercase() && index > 0 {
            word.push('-');
        }
        word.extend(letter.to_lowercase());
    }
    word
}

/// What `#[config(..)]` says.
#[derive(Default)]
struct Options {
    default: Option<Lit>,
    env: Option<LitStr>,
    name: Option<String>,
}

fn options(attributes: &[Attribute]) -> Result<Options> {
    let mut options = Options::default();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("config")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("default") {
                options.default = Some(literal(meta.value()?.parse()?)?);
            } else if meta.path.is_ident("env") {
                options.env = Some(meta.value()?.parse()?);
            } else if meta.path.is_ident("name") {
                options.name = Some(meta.value()?.parse::<LitStr>()?.value());
            } else {
                return Err(
                    meta.error("`#[config(..)]` takes default = .., env = \"DIB_..\" and name = \"..\"")
                );
            }
            Ok(())
        })?;
    }
    Ok(options)
}

fn literal(expression: Expr) -> Result<Lit> {
    let span = expression.span();
    match expression {
        Expr::Lit(ExprLit { lit: lit @ (Lit::Str(_) | Lit::Bool(_) | Lit::Int(_)), .. }) => Ok(lit),
        _ => Err(syn::Error::new(
            span,
            "a default is a string, a whole number or a bool; leave it out for lists and options",
        )),
    }
}

/// The doc comment, one line of it to a line.
fn description(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(doc) if doc.path.is_ident("doc") => match &doc.value {
            Expr::Lit(ExprLit { lit: Lit::Str(line), .. }) => Some(line.value().trim().to_owned()),
            _ => None,
        },
        _ => None,
    });
    lines.collect::<Vec<_>>().join("\n").trim().to_owned()
}
