"""Fitting a texture to pictures that nobody annotated, and measuring how real the result looks."""
