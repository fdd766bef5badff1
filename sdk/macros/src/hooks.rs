//! `#[hooks]`: reads the methods of `impl Element for X` and writes `impl Hooks for X`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{ImplItem, ItemImpl, LitInt, Result};

/// The methods of `Element`, in phase order, with their variants of `Phase`.
const PHASES: [(&str, &str); 10] = [
    ("root", "Root"),
    ("extra_data", "ExtraData"),
    ("pre_install", "PreInstall"),
    ("install", "Install"),
    ("post_install", "PostInstall"),
    ("post_root", "PostRoot"),
    ("block_device", "BlockDevice"),
    ("pre_finalise", "PreFinalise"),
    ("finalise", "Finalise"),
    ("cleanup", "Cleanup"),
];

const DEFAULT_ORDER: u8 = 50;
const LAST_ORDER: u8 = 99;

/// The `impl` as it was, without `#[order]`, and the list.
pub fn expand(arguments: &TokenStream, input: TokenStream) -> Result<TokenStream> {
    if !arguments.is_empty() {
        return Err(syn::Error::new_spanned(
            arguments,
            "`#[hooks]` takes nothing; put `#[order(20)]` on a method",
        ));
    }
    let mut item: ItemImpl = syn::parse2(input)?;
    let is_element = item
        .trait_
        .as_ref()
        .and_then(|(_, path, _)| path.segments.last())
        .is_some_and(|last| last.ident == "Element");
    if !is_element {
        return Err(syn::Error::new_spanned(&item.self_ty, "`#[hooks]` goes above `impl Element for ...`"));
    }
    let mut found = Vec::new();
    for method in &mut item.items {
        let ImplItem::Fn(method) = method else { continue };
        let name = method.sig.ident.to_string();
        let Some(index) = PHASES.iter().position(|(phase, _)| *phase == name) else {
            let names = PHASES.map(|(phase, _)| phase).join(", ");
            let message =
                format!("there is no phase `{name}`; phases are {names} (put other functions into `impl X`)");
            return Err(syn::Error::new_spanned(&method.sig.ident, message));
        };
        found.push((index, order(&mut method.attrs)?));
    }
    found.sort_unstable();
    let hooks = found.iter().map(|(index, order)| {
        let phase = format_ident!("{}", PHASES[*index].1);
        quote!(::dibw_sdk::Hook { phase: ::dibw_sdk::Phase::#phase, order: #order })
    });
    let (generics, _, bounds) = item.generics.split_for_impl();
    let element = &item.self_ty;
    Ok(quote! {
        #item

        impl #generics ::dibw_sdk::Hooks for #element #bounds {
            const HOOKS: &'static [::dibw_sdk::Hook] = &[#(#hooks),*];
        }
    })
}

/// Takes `#[order(..)]` off the method.
fn order(attributes: &mut Vec<syn::Attribute>) -> Result<u8> {
    let Some(index) = attributes.iter().position(|attribute| attribute.path().is_ident("order")) else {
        return Ok(DEFAULT_ORDER);
    };
    let literal: LitInt = attributes.remove(index).parse_args()?;
    match literal.base10_parse::<u8>() {
        Ok(order) if order <= LAST_ORDER => Ok(order),
        _ => Err(syn::Error::new_spanned(literal, "an order is a number from 0 to 99")),
    }
}
