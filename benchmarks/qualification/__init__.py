"""Is this machine fit to judge speed by, and by how much do its ratios move of themselves?

`qualify` measures it: dense against dense in fresh processes, controls with different bottlenecks, an
injected delay, ceilings. `criteria` judges, `spread` gives τ, `standing` says what a run may use of it.
What is stored is `results.history.qualification`.
"""
