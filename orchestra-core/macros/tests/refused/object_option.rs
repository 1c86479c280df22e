use orchestra_macros::Object;

#[derive(Object)]
#[object(group = "example.org", version = "v1", scope = "Cluster")]
struct Website {
    metadata: u8,
}

fn main() {}
