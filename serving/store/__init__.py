"""The lake as it is served: a cache sorted by key, tied to the lake's version, redacted as it is filled."""
