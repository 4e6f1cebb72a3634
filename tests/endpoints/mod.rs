//! Endpoints besides completions.

mod counting;
mod embeddings;
