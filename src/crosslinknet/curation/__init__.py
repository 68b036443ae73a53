"""Looking after data: what is wrong with it, what can be mended, other layouts."""
