use orchestra_macros::Object;

#[derive(Object)]
#[object(plural = "sites")]
struct Website {
    metadata: u8,
}

fn main() {}
