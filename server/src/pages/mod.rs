//! The dashboard: pure functions from views to markup.
