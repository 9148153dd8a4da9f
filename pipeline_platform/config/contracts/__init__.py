"""Data contracts of loads: files of the Open Data Contract Standard, and what of them is checked."""
