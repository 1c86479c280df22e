//! A helper for the process runtime, for programs that cannot call [`init`](orchestra_runtime::process::init) first in
//! their own `main`: tests, and programs written in another language. It does nothing else.

fn main() {
    orchestra_runtime::process::init();
    eprintln!("orchestra-shim is started by the process runtime, and is not meant to be called by hand");
    std::process::exit(2);
}
