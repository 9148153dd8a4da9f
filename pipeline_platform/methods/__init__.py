"""The vocabulary: one class per method. Its fields are its config, one function is its behaviour."""
