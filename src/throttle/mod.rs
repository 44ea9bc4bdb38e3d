//! The sources of back-pressure, one a file, and the one place that combines them.
