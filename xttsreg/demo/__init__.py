"""What the demo and the tests need to run everything for real, on one machine."""
