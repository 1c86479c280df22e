//! What the macro must refuse, and with which words. That it accepts the rest is tested where the selectors are.

#[test]
fn bad_selectors_do_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/refused/*.rs");
}
