"""A discrete-event simulation of model swaps on one device: the real core under virtual time, its rivals, the bounds."""
