use orchestra_macros::selector;

fn main() {
    selector!(app in []);
}
