"""Databases: PostgreSQL and MySQL."""
