"""The version of this distribution, read by the build and reported as the instrumentation scope's version."""

__version__ = "0.1.0"
