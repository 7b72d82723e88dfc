"""Rows of running media: the feed from Kafka, events to browsers, sound from microphones."""
