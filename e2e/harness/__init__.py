"""What the stories and the demo share: one world (git server, LLM, chart) on the local cluster, and ways to look at it."""
