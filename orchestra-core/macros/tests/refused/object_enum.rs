use orchestra_macros::Object;

#[derive(Object)]
#[object(group = "example.org", version = "v1")]
enum Website {
    Here,
}

fn main() {}
