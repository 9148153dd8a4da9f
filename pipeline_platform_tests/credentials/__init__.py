"""Typed credentials and redaction."""
