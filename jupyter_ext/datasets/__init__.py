"""Data sets: registered once, pointed at by everything later."""
