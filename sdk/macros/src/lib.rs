//! dibw-sdk-macros
