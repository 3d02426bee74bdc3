"""What the Jupyter server serves: routes, their handlers, events, the OpenAPI document."""

#: Where the API lies below a server's base URL.
API_PREFIX = "jupyter-ext/api/v1"
