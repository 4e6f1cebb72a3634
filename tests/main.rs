//! The one integration binary.

mod dialects;
