"""One file each: a form in which people have compressed models."""
