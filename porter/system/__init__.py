"""What the machine gives: files that appear whole, checksums, a quiet TensorFlow, threads."""
