"""The application's services: the agents, their shape in the browser, and the doors of the pipeline."""

from __future__ import annotations

import logging

# The package logs under its own name. Here it answers to the name of the application's service too: a level or a
# handler given to that logger holds for the package, unless the package's own logger was given another.
logging.getLogger("django_update_pipeline").parent = logging.getLogger("dating_show.services.update_pipeline")
