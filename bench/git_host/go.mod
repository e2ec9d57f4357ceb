module palisade.dev/bench/git_host

go 1.26
