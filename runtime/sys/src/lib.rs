//! dibw-sys
