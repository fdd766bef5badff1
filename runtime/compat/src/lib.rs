//! dibw-compat
