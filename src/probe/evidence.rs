//! What an answer shows of itself.
