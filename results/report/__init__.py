"""A run as one web page: a file that needs no network, for whoever looks at results without a terminal."""
