"""Many rows, fast: decoding and steering."""
