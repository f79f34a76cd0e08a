"""Controllers to show and to publish: those that ship, and any other as a model repository."""
