"""Recipes and training scripts."""
