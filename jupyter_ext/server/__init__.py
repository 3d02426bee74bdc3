"""What the Jupyter server serves: routes, their handlers, events, the OpenAPI document."""
