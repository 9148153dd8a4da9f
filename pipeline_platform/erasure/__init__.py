"""Erases a person's rows from every sink of a project, and proves it."""
