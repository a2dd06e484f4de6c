"""Layer maps that are wrong on purpose: each has to be caught by what `porter convert` compares."""
