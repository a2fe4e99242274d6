"""What happened to refusal, and the evidence that tells its fates apart."""
