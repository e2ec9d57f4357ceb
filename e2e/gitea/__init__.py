"""A real git host beside the cluster: Gitea over HTTPS with an authority of its own, reachable from pods as an outside host."""
