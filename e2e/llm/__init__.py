"""The one thing that is scripted: an OpenAI-compatible server that answers by rules."""
