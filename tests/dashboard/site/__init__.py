"""A project of its own for the staff page's tests: hashed static files only, a transport that fails as told."""
