use orchestra_macros::selector;

fn main() {
    selector!(replicas > "three");
}
