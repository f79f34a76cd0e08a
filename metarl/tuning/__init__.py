"""The search for settings that suit a task family: what is searched, its trials, and the preset that it finds."""
