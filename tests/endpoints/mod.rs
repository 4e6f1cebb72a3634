//! Endpoints besides completions.

mod counting;
mod embeddings;
mod hints;
mod keeping;
mod passing;
