"""Values and decisions: no Django, asyncio, threads, clocks, randomness, logging or I/O in here."""
