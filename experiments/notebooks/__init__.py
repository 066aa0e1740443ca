"""Notebooks that run what is elsewhere, and what their first cell installs."""
