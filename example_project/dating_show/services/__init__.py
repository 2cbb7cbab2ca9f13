"""The application's services: the agents, their shape in the browser, and the doors of the pipeline."""
