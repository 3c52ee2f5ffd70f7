"""A whole system on one machine, without Docker: servers, a process supervisor, a sample fortune API and the demo.

Nothing outside this package (but the command line and the tests) may depend on it.
"""
