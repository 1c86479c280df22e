//! `#[derive(Object)]`. What it reads of a struct is its name and whether it has metadata; all else stands in the attribute.

use proc_macro::{Delimiter, Group, Ident, Literal, TokenStream, TokenTree};

use crate::{Fault, Tokens};

/// What `#[object(…)]` says, each as it was written.
#[derive(Default)]
struct Said {
    group: Option<Literal>,
    version: Option<Literal>,
    kind: Option<Literal>,
    plural: Option<Literal>,
    cluster: bool,
    schema: bool,
}

/// The implementation for a struct.
pub(crate) fn derive(input: TokenStream) -> Result<TokenStream, Fault> {
    let mut tokens = Tokens::new(input);
    let mut said = Said::default();
    loop {
        match tokens.next() {
            Some(TokenTree::Punct(punct)) if punct.as_char() == '#' => {
                if let Some(TokenTree::Group(attribute)) = tokens.next() {
                    read_attribute(&attribute, &mut said)?;
                }
            }
            Some(TokenTree::Ident(word)) if word.to_string() == "struct" => break,
            Some(TokenTree::Ident(word)) if matches!(word.to_string().as_str(), "enum" | "union") => {
                return tokens.fault("an object is a struct, with a field `metadata`");
            }
            Some(_) => {}
            None => return tokens.fault("expected a struct"),
        }
    }
    let Some(TokenTree::Ident(name)) = tokens.next() else { return tokens.fault("expected a name") };
    match tokens.next() {
        Some(TokenTree::Group(fields)) if has_metadata(&fields) => {}
        Some(TokenTree::Group(fields)) if fields.delimiter() == Delimiter::Brace => {
            return tokens.fault("an object has a field `metadata: ObjectMeta`");
        }
        _ => return tokens.fault("an object is a struct of named fields without parameters"),
    }
    let (Some(group), Some(version)) = (said.group.take(), said.version.take()) else {
        let message = "say its group and version: #[object(group = \"example.org\", version = \"v1\")]";
        return Err(Fault { message: message.to_owned(), at: name.span() });
    };
    Ok(implementation(&name, &group, &version, &said))
}

fn has_metadata(fields: &Group) -> bool {
    let mut before = None;
    fields.delimiter() == Delimiter::Brace
        && fields.stream().into_iter().any(|token| {
            let is_colon = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == ':');
            let found = is_colon && before.as_deref() == Some("metadata");
            before = Some(token.to_string());
            found
        })
}

/// `[object(group = "…", cluster)]`; another attribute says nothing here.
fn read_attribute(attribute: &Group, said: &mut Said) -> Result<(), Fault> {
    let mut parts = attribute.stream().into_iter();
    let (Some(TokenTree::Ident(name)), Some(TokenTree::Group(group))) = (parts.next(), parts.next()) else {
        return Ok(());
    };
    if name.to_string() != "object" {
        return Ok(());
    }
    let mut tokens = Tokens::new(group.stream());
    while tokens.rest.peek().is_some() {
        read_option(&mut tokens, said)?;
        if tokens.rest.peek().is_some() && !tokens.next_is(',') {
            tokens.next();
            return tokens.fault("expected `,` and another option, or the end");
        }
        tokens.next();
    }
    Ok(())
}

fn read_option(tokens: &mut Tokens, said: &mut Said) -> Result<(), Fault> {
    const OPTIONS: &str =
        "expected `group`, `version`, `kind` or `plural` with a value, `cluster`, or `schema`";
    let Some(TokenTree::Ident(name)) = tokens.next() else { return tokens.fault(OPTIONS) };
    let place = match name.to_string().as_str() {
        "cluster" => {
            said.cluster = true;
            return Ok(());
        }
        "schema" => {
            said.schema = true;
            return Ok(());
        }
        "group" => &mut said.group,
        "version" => &mut said.version,
        "kind" => &mut said.kind,
        "plural" => &mut said.plural,
        _ => return tokens.fault(OPTIONS),
    };
    if !tokens.next_is('=') {
        return tokens.fault(format!("expected `{name} = \"…\"`"));
    }
    tokens.next();
    match tokens.next() {
        Some(TokenTree::Literal(literal)) if literal.to_string().starts_with('"') => {
            *place = Some(literal);
            Ok(())
        }
        _ => tokens.fault("expected a text in quotation marks"),
    }
}

fn implementation(name: &Ident, group: &Literal, version: &Literal, said: &Said) -> TokenStream {
    let type_name = name.to_string().trim_start_matches("r#").to_owned();
    let text = |said: &Option<Literal>, other: String| {
        said.as_ref().map_or(format!("{other:?}"), ToString::to_string)
    };
    let plural = text(&said.plural, format!("{}s", type_name.to_lowercase()));
    let kind = text(&said.kind, type_name);
    let scope = if said.cluster { "Cluster" } else { "Namespaced" };
    let schema = match said.schema {
        false => "",
        true => {
            "fn schema(generator: &mut ::orchestra_core::k8s_openapi::schemars::SchemaGenerator) \
                 -> ::core::option::Option<::orchestra_core::k8s_openapi::schemars::Schema> { \
                 ::core::option::Option::Some(generator.subschema_for::<Self>()) \
             }"
        }
    };
    let meta = "::orchestra_core::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta";
    let code = format!(
        "impl ::orchestra_core::meta::Object for {name} {{ \
             const GROUP: &'static str = {group}; \
             const VERSION: &'static str = {version}; \
             const KIND: &'static str = {kind}; \
             const PLURAL: &'static str = {plural}; \
             const SCOPE: ::orchestra_core::meta::Scope = ::orchestra_core::meta::Scope::{scope}; \
             fn meta(&self) -> &{meta} {{ &self.metadata }} \
             fn meta_mut(&mut self) -> &mut {meta} {{ &mut self.metadata }} \
             {schema} \
         }}"
    );
    // It is made of Rust's own tokens.
    code.parse().unwrap_or_default()
}
