"""Where the campaign's servers tell what is left of connections; apart, because their own module sets up logging."""

from __future__ import annotations

CENSUS = "/hostile/census/"
