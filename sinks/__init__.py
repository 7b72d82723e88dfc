"""Where rows go and come back from: lake, Parquet folder, PostgreSQL, exports."""
