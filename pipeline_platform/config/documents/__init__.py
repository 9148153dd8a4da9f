"""JSON, CSV and YAML files with the place of every value in them."""
