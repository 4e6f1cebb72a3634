//! Endpoints besides completions.

mod counting;
mod embeddings;
mod passing;
