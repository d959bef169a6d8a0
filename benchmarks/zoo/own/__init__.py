"""Models and data that a person names: a declaration, from options or a `zoo.toml`, becomes a model like those of
`zoo/models`, after all that can be wrong with it has been looked at."""
