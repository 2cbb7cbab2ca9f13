"""Movers of publications: one module a transport, all behind `core.ports.Transport`."""
