"""A trained detector behind an address: the application, its requests, its server, its page."""
