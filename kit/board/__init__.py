"""The board: records, published results, what may be compared, the pages."""
