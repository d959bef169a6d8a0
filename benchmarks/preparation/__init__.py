"""What a case needs before it is measured: dense model, artifact, answers, each made once and kept."""
