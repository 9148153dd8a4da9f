"""A look at all rows of a table: what is in its columns, and the rules that the rows keep."""
