"""Text views: what a person sees of a plan, a run that is going on, and a run that has ended. Reads data, decides nothing."""
