"""Several machines as one: which nodes a Ray cluster has, and what each is given to do. Ray does all scheduling,
retries and transport; what is measured on a node is measured as it would be there alone."""
