use orchestra_macros::Object;

#[derive(Object)]
#[object(group = "example.org", version = "v1")]
struct Website {
    spec: u8,
}

fn main() {}
