"""What tests and benchmarks share: real servers and how to end them."""
