//! How connections are spread over the endpoints of a service.

/// Which endpoint of a service takes the next connection, of those that may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Balance {
    /// Each in its turn: as many connections to one as to any other.
    #[default]
    RoundRobin,
    /// Whichever chance picks: nodes that count for themselves do not all begin with the same one.
    Random,
}
