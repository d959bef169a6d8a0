"""Attention that is no square of the length of a text: sparse, where a token looks at a few of the others, exactly; and
approximate, where all of them are taken together first."""
