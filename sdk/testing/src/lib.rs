//! dibw-sdk-testing
