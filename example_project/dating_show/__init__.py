"""The dating show: the living example of django-update-pipeline.

A villa of agents is simulated in the server process, held by a `UnifiedAgentManager`, shaped for the
browser by a `FrontendStateAdapter`, and carried to every viewer by the pipeline. The package itself
knows nothing of what lives here; everything is joined to it in `plugins.py` and `asgi.py`.
"""
