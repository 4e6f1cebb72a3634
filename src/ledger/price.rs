//! What a token costs.
