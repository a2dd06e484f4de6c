"""porter stylize: pictures in, pictures out."""
