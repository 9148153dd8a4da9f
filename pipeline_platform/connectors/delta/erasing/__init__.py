"""How a person's rows are erased from a Delta table: from its rows, its older files and its log."""
