"""Rules for Prometheus, built from the constants that the instrumentation takes its names from."""
