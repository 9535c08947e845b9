//! The readable form of a schema, for people.

use std::fmt::{self, Write};

use super::{Definition, Fields, Module, Shape, Tagging, Verb, Visibility};

impl Module {
    /// The schema as text that reads like an interface.
    ///
    /// ```
    /// use ftl_core::schema::{Module, Verb};
    /// let mut clock = Module::new("clock".parse().unwrap());
    /// clock.verbs.push(Verb::new("now".parse().unwrap()));
    /// assert_eq!(clock.to_text(), "module clock {\n  verb now(()) -> ()\n}\n");
    /// ```
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        // Writing to a `String` cannot fail.
        let _ = write_module(&mut out, self);
        out
    }
}

fn write_module(out: &mut String, module: &Module) -> fmt::Result {
    write_doc(out, "", &module.doc)?;
    writeln!(out, "module {} {{", module.name)?;
    for (index, verb) in module.verbs.iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        write_verb(out, verb)?;
    }
    for (name, definition) in &module.types {
        out.push('\n');
        write_definition(out, name.as_str(), definition)?;
    }
    out.push_str("}\n");
    Ok(())
}

fn write_verb(out: &mut String, verb: &Verb) -> fmt::Result {
    write_doc(out, "  ", &verb.doc)?;
    let visibility = match verb.visibility {
        Visibility::Module => "private ",
        Visibility::System => "",
        Visibility::Public => "public ",
    };
    let idempotent = if verb.idempotent { "idempotent " } else { "" };
    write!(out, "  {visibility}{idempotent}verb {}({}) -> {}", verb.name, verb.request, verb.reply)?;
    if let Some(error) = &verb.error {
        write!(out, " or {error}")?;
    }
    out.push('\n');
    verb.calls.iter().try_for_each(|callee| writeln!(out, "    calls {callee}"))
}

fn write_definition(out: &mut String, name: &str, definition: &Definition) -> fmt::Result {
    write_doc(out, "  ", &definition.doc)?;
    match &definition.shape {
        Shape::Struct(fields) => {
            write!(out, "  data {name}")?;
            write_fields(out, "  ", fields)?;
            out.push('\n');
        }
        Shape::Enum { tagging, variants } => {
            write!(out, "  enum {name}")?;
            match tagging {
                Tagging::External => {}
                Tagging::Internal { tag } => write!(out, " tagged by {tag:?}")?,
                Tagging::Adjacent { tag, content } => write!(out, " tagged by {tag:?} beside {content:?}")?,
            }
            out.push_str(" {\n");
            for variant in variants {
                write_doc(out, "    ", &variant.doc)?;
                write!(out, "    {}", variant.name)?;
                write_fields(out, "    ", &variant.fields)?;
                out.push('\n');
            }
            out.push_str("  }\n");
        }
    }
    Ok(())
}

fn write_fields(out: &mut String, indent: &str, fields: &Fields) -> fmt::Result {
    match fields {
        Fields::Unit => Ok(()),
        Fields::Newtype(ty) => write!(out, "({ty})"),
        Fields::Tuple(parts) => {
            let parts: Vec<String> = parts.iter().map(ToString::to_string).collect();
            write!(out, "({})", parts.join(", "))
        }
        Fields::Named(fields) if fields.is_empty() => write!(out, " {{}}"),
        Fields::Named(fields) => {
            out.push_str(" {\n");
            for field in fields {
                write_doc(out, &format!("{indent}  "), &field.doc)?;
                let optional = if field.optional { "?" } else { "" };
                writeln!(out, "{indent}  {}{optional}: {}", field.name, field.ty)?;
            }
            write!(out, "{indent}}}")
        }
    }
}

fn write_doc(out: &mut String, indent: &str, doc: &str) -> fmt::Result {
    doc.lines().try_for_each(|line| writeln!(out, "{}", format!("{indent}/// {line}").trim_end()))
}
