"""What is measured and how it is judged: models and tasks (`zoo`), hardware, measures, verdicts, cases."""
