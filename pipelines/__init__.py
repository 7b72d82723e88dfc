"""The steps put together: the catalogue run, configuration and the command line."""
