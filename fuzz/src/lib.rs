//! What the fuzz targets do with any bytes. `tests/dialects` does the same with the recordings and the goldens, so that
//! the normal tests run it too. It is no part of the library: it knows flyball from outside.

pub mod dialect;
pub mod json;
