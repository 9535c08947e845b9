//! What the compiler says to those who use the macros: see `ui/README.md`.

#[test]
fn mistakes_are_explained_and_forms_compile() {
    // One function: all cases share one build.
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/pass/*.rs");
    cases.compile_fail("tests/ui/fail/*.rs");
}
