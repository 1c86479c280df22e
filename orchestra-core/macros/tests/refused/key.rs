use orchestra_macros::selector;

fn main() {
    selector!("_app" == "web");
}
