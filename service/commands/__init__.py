"""The sub-commands of `calibrant`, a file each, and how the terminal shows things."""
