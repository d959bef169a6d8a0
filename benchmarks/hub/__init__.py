"""Repositories of a model hub: a name and a revision become a commit, the commit's files become a sealed entry of
the cache. Nothing that is fetched is imported or executed, and nothing here waits longer than it was told to."""
