"""Avro files and schemas."""
