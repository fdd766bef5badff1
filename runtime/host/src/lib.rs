//! dibw-host
