//! Endpoints besides completions.

mod counting;
mod embeddings;
mod keeping;
mod passing;
