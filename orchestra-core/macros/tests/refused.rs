//! What the macros must refuse, and with which words. That they accept the rest is tested where selectors and kinds are.

#[test]
fn what_is_wrong_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/refused/*.rs");
}
