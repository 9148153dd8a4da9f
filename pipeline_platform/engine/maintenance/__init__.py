"""Maintenance of the tables that pipelines write: which there are, who reads them, and what is done to them."""
