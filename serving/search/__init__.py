"""Search by arc: curves as short vectors, the index of them, exact comparison of the best."""
