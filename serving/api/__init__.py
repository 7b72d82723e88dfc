"""What the service answers over HTTP: routes, formats, problems."""
