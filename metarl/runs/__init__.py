"""Trainings that live in a folder: logged, checkpointed, resumable. Independent of what is trained."""
