"""Write a planned graph to disk, one format a file."""
