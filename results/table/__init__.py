"""Records as tables: rows, columns, cells, and the forms they are written in."""
