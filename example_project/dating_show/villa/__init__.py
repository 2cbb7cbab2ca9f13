"""The villa: its grounds, its people and what happens between them.

Everything here but `source.py` is values and decisions: time is passed in, chance comes from an injected
`random.Random`, and what happened is returned as effects. `source.py` runs it and hands the effects on.
"""
