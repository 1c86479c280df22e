//! The label-selector engine.
