"""Who may ask for what: keys, scopes, limits, redaction, the audit log."""
