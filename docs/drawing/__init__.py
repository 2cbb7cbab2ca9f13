"""What docs/tables.py draws from, besides the code itself, and what docs/conf.py builds the site from."""
