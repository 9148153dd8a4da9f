"""Programs and servers for developers: the benches, and the real servers that tests and `make services` use."""
