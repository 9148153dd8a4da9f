"""Dagster: assets, checks, jobs and schedules made from pipelines."""
