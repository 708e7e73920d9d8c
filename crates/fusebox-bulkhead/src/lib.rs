//! fusebox bulkhead
