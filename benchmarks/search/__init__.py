"""Looking for the parameters of a recipe: the fastest or the smallest model that loses no more than it may."""
