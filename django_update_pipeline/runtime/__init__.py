"""The asyncio shell around the core; it knows no Django."""
