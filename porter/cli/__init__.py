"""The commands as they are typed: a file each for arguments and output, logic elsewhere."""
