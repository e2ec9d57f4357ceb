module palisade.dev/bench/echo

go 1.26
