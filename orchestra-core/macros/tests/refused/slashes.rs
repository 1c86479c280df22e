use orchestra_macros::selector;

fn main() {
    selector!("a/b/c");
}
