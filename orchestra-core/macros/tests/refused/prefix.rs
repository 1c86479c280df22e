use orchestra_macros::selector;

fn main() {
    selector!("Example.com/app" == "web");
}
