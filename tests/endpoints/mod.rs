//! Endpoints besides completions.

mod embeddings;
