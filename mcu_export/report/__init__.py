"""What an export says of itself: the manifest, and tables for the terminal."""
