//! The structural hash of a schema: equal for equal structure, whatever the documentation says.

use crate::digest::Digest;

use super::{Definition, Fields, Module, Shape};

impl Module {
    /// The digest of the structure: names, types, visibility, idempotence and call edges, without documentation.
    ///
    /// The order in which verbs were listed does not matter; the order of fields and variants does, because
    /// tuples and people depend on it.
    ///
    /// ```
    /// use ftl_core::schema::Module;
    /// let mut module = Module::new("clock".parse().unwrap());
    /// let before = module.hash();
    /// module.doc = "Tells the time.".into();
    /// assert_eq!(module.hash(), before);
    /// ```
    #[must_use]
    pub fn hash(&self) -> Digest {
        let mut bare = self.clone();
        bare.doc.clear();
        bare.verbs.sort_by(|a, b| a.name.cmp(&b.name));
        for verb in &mut bare.verbs {
            verb.doc.clear();
            verb.calls.sort();
        }
        bare.types.values_mut().for_each(strip);
        // Struct fields in declaration order and ordered maps make this JSON canonical.
        Digest::of(&serde_json::to_vec(&bare).unwrap_or_default())
    }
}

fn strip(definition: &mut Definition) {
    definition.doc.clear();
    match &mut definition.shape {
        Shape::Struct(fields) => strip_fields(fields),
        Shape::Enum { variants, .. } => {
            for variant in variants {
                variant.doc.clear();
                strip_fields(&mut variant.fields);
            }
        }
    }
}

fn strip_fields(fields: &mut Fields) {
    if let Fields::Named(fields) = fields {
        fields.iter_mut().for_each(|field| field.doc.clear());
    }
}
