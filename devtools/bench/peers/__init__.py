"""Other tools that do the same job, each a program in an environment of their own."""
