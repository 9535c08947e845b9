//! What cargo tells about the package that is being compiled.

use std::path::Path;

/// The package that uses a macro.
pub(crate) struct Package {
    /// Its name, which names the module and qualifies its types.
    pub(crate) name: String,
    /// The name of the crate that is being compiled, as paths in code name it.
    pub(crate) crate_name: Option<String>,
    /// Whether it depends on `thiserror`.
    pub(crate) has_thiserror: bool,
}

impl Package {
    /// The package whose compiler runs this macro. Its dependencies are not looked at.
    pub(crate) fn current() -> Self {
        Self {
            name: std::env::var("CARGO_PKG_NAME").unwrap_or_else(|_| "crate".to_owned()),
            crate_name: std::env::var("CARGO_CRATE_NAME").ok(),
            has_thiserror: true,
        }
    }

    /// The same, with what its manifest says. In doubt there is everything: the compiler will say more.
    pub(crate) fn with_dependencies(self) -> Self {
        let folder = std::env::var_os("CARGO_MANIFEST_DIR");
        let manifest =
            folder.and_then(|folder| std::fs::read_to_string(Path::new(&folder).join("Cargo.toml")).ok());
        Self { has_thiserror: manifest.is_none_or(|manifest| names_thiserror(&manifest)), ..self }
    }

    /// The module that it makes: its name with `-` read as `_`.
    pub(crate) fn module_name(&self) -> String {
        self.name.replace('-', "_")
    }
}

/// Whether a manifest names the dependency, in any of the forms that TOML allows.
fn names_thiserror(manifest: &str) -> bool {
    let code = manifest.lines().map(|line| line.split('#').next().unwrap_or_default());
    let mut words = code.flat_map(|line| line.split(|c: char| !(c.is_alphanumeric() || "_-".contains(c))));
    words.any(|word| word == "thiserror")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A package for the tests of the macros.
    pub(crate) fn package() -> Package {
        Package { name: "my-shop".to_owned(), crate_name: Some("my_shop".to_owned()), has_thiserror: true }
    }

    #[test]
    fn thiserror_is_found_in_every_form_of_a_dependency() {
        for manifest in [
            "[dependencies]\nthiserror = \"2\"",
            "[dependencies]\nthiserror.workspace = true",
            "[dependencies.thiserror]\nversion = \"2\"",
            "[dependencies]\nerror = { package = \"thiserror\", version = \"2\" }",
        ] {
            assert!(names_thiserror(manifest), "{manifest}");
        }
        for manifest in ["", "# thiserror = \"2\"", "[dependencies]\nthiserror-ext = \"1\""] {
            assert!(!names_thiserror(manifest), "{manifest}");
        }
    }
}
