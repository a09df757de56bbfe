"""What lies on every stick as it is here: run there, never imported by xttsreg."""
