"""Rows of running media: the feed from Kafka, the board of calls, events to browsers, microphones."""
