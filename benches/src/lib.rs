//! What orchestra is measured by. Each bench has its baseline in the same run: the ratio of the two is the figure,
//! since times move with the machine and with what else it is doing. `BENCHMARKS.md` holds the figures, the targets and
//! what keeps the one from the other.
//!
//! `cargo bench -p orchestra-benches --bench NAME [-- FILTER]`, where NAME is one of
//!
//! | bench | what | beside |
//! | --- | --- | --- |
//! | `cluster` | a cluster in a variable, to its first answer and to three running pods | the same records in a bare store |
//! | `http` | get, create, list and watch over HTTPS, by one client and by many | the same call in this process; the same bytes from a bare hyper server |
//! | `memory` | resident memory of a whole cluster, idle and with pods on fake nodes | the JSON of the pods |
//! | `node` | pods on each runtime until they run, a hundred adopted, the same idle | the runtime asked directly |
//! | `scheduler` | placing a pod in a cluster of 5,000 nodes | a scheduler that looks at every pod |
//! | `simulation` | a day, an hour of a large cluster, many lives of a small one, and forks | the same commits in a bare store |
//! | `selectors` | matching, the index of objects by label and that of selectors by object | maps and linear scans |
//! | `streams` | a gigabyte from a port of a pod through the API | the same through one TLS connection |
//! | `store` | the three stores, the cache and the log of events | redb, etcd's client, a broadcast channel |
//!
//! Read `cluster` first: it is the shortest. A bench is a program of its own under `benches/`, in a directory when it
//! is more than a file; `memory`, `node`, `simulation` and `streams` are not run by criterion: what the one measures is no time, and a life of
//! the other takes long enough. Each crate is optimized whole, which takes minutes; `CARGO_PROFILE_BENCH_LTO=off` is for
//! trying things out.
//!
//! The programs are measured from outside. `orchestra up --runtime fake` prints how long it took; `VmRSS` of
//! `/proc/PID/status`, `write_bytes` of `/proc/PID/io` and the processor time of `/proc/PID/stat` are what the idle
//! figures are made of.
