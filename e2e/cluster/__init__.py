"""A real one-node cluster on this machine, from the programs that e2e/tools/build makes. See e2e/README.md."""
