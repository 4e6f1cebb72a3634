//! Endpoints besides completions.

mod background;
mod counting;
mod embeddings;
mod hints;
mod keeping;
mod kept_here;
mod passing;
