"""Label models: from votes to one label a row, with a probability."""
