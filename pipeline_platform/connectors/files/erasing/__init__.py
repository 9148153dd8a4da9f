"""How a person's rows are found in files, and taken out of them."""
